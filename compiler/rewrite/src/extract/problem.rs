//! What there is to choose, free of e-graphs and operators.

/// Classes, each with the choices of which one computes it.
#[derive(Debug, Clone, Default)]
pub struct Problem {
    pub classes: Vec<Vec<Choice>>,
    /// The classes that must be computed, ascending.
    pub roots: Vec<usize>,
}

#[derive(Debug, Clone)]
pub struct Choice {
    /// Paid once, however many need the class. Not negative.
    pub cost: f64,
    /// The classes that must be computed before, ascending.
    pub needs: Vec<usize>,
    /// What this stands for: classes of the problem that was first posed, and which of their choices each takes.
    pub takes: Vec<(usize, usize)>,
}

/// Which of its choices each class takes. Whether a class is computed at all is decided by what the roots need.
pub type Solution = Vec<Option<usize>>;

impl Problem {
    pub fn choices(&self) -> usize {
        self.classes.iter().map(Vec::len).sum()
    }

    pub fn choice(&self, solution: &Solution, class: usize) -> Option<&Choice> {
        self.classes[class].get(solution[class]?)
    }

    /// Each class with each that one of its choices needs.
    pub fn needs(&self) -> impl Iterator<Item = (usize, usize)> + '_ {
        let of_choice = |class: usize| {
            move |choice: &'_ Choice| choice.needs.iter().map(|&need| (class, need)).collect::<Vec<_>>()
        };
        self.classes
            .iter()
            .enumerate()
            .flat_map(move |(class, choices)| choices.iter().flat_map(of_choice(class)))
    }

    /// For each class, those with a choice that needs it, ascending.
    pub fn users(&self) -> Vec<Vec<usize>> {
        let mut users = vec![vec![]; self.classes.len()];
        for (class, choices) in self.classes.iter().enumerate() {
            for &need in choices.iter().flat_map(|choice| &choice.needs) {
                if users[need].last() != Some(&class) {
                    users[need].push(class);
                }
            }
        }
        users
    }

    /// The classes that the roots need, operands first.
    ///
    /// Errors: the circle that they go round in, each class needing the next and the last one the first; empty if a
    /// class that is needed has no choice.
    pub fn order(&self, solution: &Solution) -> Result<Vec<usize>, Vec<usize>> {
        #[derive(Clone, Copy, PartialEq)]
        enum Mark {
            New,
            Open,
            Done,
        }
        let mut marks = vec![Mark::New; self.classes.len()];
        let mut order = Vec::new();
        // The way from a root to here: each class and how many of its needs have been visited.
        let mut way: Vec<(usize, usize)> = Vec::new();
        for &root in &self.roots {
            if marks[root] == Mark::New {
                marks[root] = Mark::Open;
                way.push((root, 0));
            }
            while let Some((class, visited)) = way.pop() {
                let choice = self.choice(solution, class).ok_or(vec![])?;
                let Some(&need) = choice.needs.get(visited) else {
                    marks[class] = Mark::Done;
                    order.push(class);
                    continue;
                };
                way.push((class, visited + 1));
                match marks[need] {
                    Mark::Done => (),
                    Mark::New => {
                        marks[need] = Mark::Open;
                        way.push((need, 0));
                    }
                    Mark::Open => {
                        let circle = way.iter().map(|&(class, _)| class).skip_while(|&class| class != need);
                        return Err(circle.collect());
                    }
                }
            }
        }
        Ok(order)
    }

    /// What a solution costs; `None` if it is none.
    pub fn total(&self, solution: &Solution) -> Option<f64> {
        // Summed in the order of the classes, so that equal sets cost the same to the last bit.
        let mut order = self.order(solution).ok()?;
        order.sort_unstable();
        Some(
            order
                .into_iter()
                .filter_map(|class| self.choice(solution, class))
                .map(|choice| choice.cost)
                .sum(),
        )
    }

    /// The same choices among `kept` alone, ascending, by their numbers there; what they need is among them.
    pub fn among(&self, kept: &[usize]) -> Problem {
        let mut numbers = vec![usize::MAX; self.classes.len()];
        kept.iter().enumerate().for_each(|(number, &class)| numbers[class] = number);
        let renumbered = |choice: &Choice| Choice {
            needs: choice.needs.iter().map(|&need| numbers[need]).collect(),
            ..choice.clone()
        };
        let classes =
            kept.iter().map(|&class| self.classes[class].iter().map(renumbered).collect()).collect();
        let roots = self.roots.iter().map(|&root| numbers[root]).filter(|&root| root != usize::MAX).collect();
        Problem { classes, roots }
    }
}
