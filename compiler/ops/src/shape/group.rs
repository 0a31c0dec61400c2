/// Neighbouring axes before a reshape, and those that hold the same elements after it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Group {
    pub before: std::ops::Range<usize>,
    pub after: std::ops::Range<usize>,
}

impl Group {
    /// The finest groups of a reshape from extents `before` to extents `after`, in order.
    pub fn all(before: &[usize], after: &[usize]) -> Vec<Group> {
        let mut groups = Vec::new();
        let (mut i, mut j) = (0, 0);
        while i < before.len() || j < after.len() {
            let (start_i, start_j) = (i, j);
            let (mut left, mut right) = (1, 1);
            if i < before.len() {
                left = before[i];
                i += 1;
            }
            if j < after.len() && (right != left || start_i == i) {
                right = after[j];
                j += 1;
            }
            while left != right {
                if left < right && i < before.len() {
                    left *= before[i];
                    i += 1;
                } else if j < after.len() {
                    right *= after[j];
                    j += 1;
                } else {
                    // Only where there are no elements: one group of all.
                    return vec![Group { before: 0..before.len(), after: 0..after.len() }];
                }
            }
            groups.push(Group { before: start_i..i, after: start_j..j });
        }
        groups
    }
}
