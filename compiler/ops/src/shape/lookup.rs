use loops::{Compare, Expr};

/// A looked-up place along an axis of `extent` as an index: negative ones count from the end, and what lies outside
/// is moved to the nearest element, so that no data can make compiled code read out of bounds.
pub fn looked_up(place: Expr, extent: usize) -> Expr {
    let (place, extent) = (place.cast(ir::DType::I64), extent as i64);
    let negative = Expr::compare(Compare::Lt, place.clone(), Expr::int(0));
    let counted = Expr::select(negative, place.clone() + Expr::int(extent), place);
    counted.max(Expr::int(0)).min(Expr::int(extent - 1))
}
