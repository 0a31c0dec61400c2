//! Writes the loops of a flattened stage under a schedule.
//!
//! Around a register tile of rows by vectors stand the domain's loops, inside it the reduction's. Guards (the edges of
//! padded windows) are answered while the loops are written: rows that can leave the map are peeled into tiles of their
//! own at known places, reduction loops run only over the steps that hold.

mod blocks;
mod groups;
pub(crate) mod guard;
mod matrix;
mod prefetch;
mod tile;
mod value;

use std::collections::HashMap;

use ir::DType;
use loops::affine::Affine;
use loops::{Access, Buffer, BufferId, Expr, LoopVar, Nest, Reg, Stmt, Type};
use targets::Target;

use crate::dot::{self, Dot};
use crate::flat::Flat;
use crate::math::Unsupported;
use crate::pack::{self, Packing};
use crate::range::Ranges;
use crate::{Argument, Chosen, Estimate, Kernel, Loop, Schedule};
use guard::Guard;
use matrix::Product;

pub fn emit(name: &str, flat: &Flat, schedule: &Schedule, target: &Target) -> Result<Kernel, Unsupported> {
    let mut emitter = Emitter::new(flat, schedule, target);
    emitter.domain(0);
    if let Some(unsupported) = emitter.unsupported {
        return Err(unsupported);
    }
    let body = emitter.blocks.pop().unwrap_or_default();
    let mut kernel = Kernel {
        nest: Nest { name: name.to_owned(), buffers: emitter.buffers, body },
        in_place: (0..emitter.arguments.len()).map(|k| in_place(flat, k)).collect(),
        arguments: emitter.arguments,
        without_matrices: None,
        blocks: vec![],
        stages: vec![schedule.clone()],
        estimate: Estimate::default(),
        workloads: vec![],
        chosen: Chosen::Default,
    };
    drop_unused(&mut kernel);
    Ok(kernel)
}

/// Where the writing of loops stands.
pub(crate) struct Emitter<'a> {
    flat: &'a Flat,
    schedule: &'a Schedule,
    target: &'a Target,
    buffers: Vec<Buffer>,
    arguments: Vec<Argument>,
    result: BufferId,
    /// Constants that are read packed, and their buffers.
    packings: Vec<(Packing, BufferId)>,
    /// The body without the guards that surround it; outside them nothing is added to the fold.
    body: Expr,
    guards: Vec<Guard>,
    /// What a sum begins with, if not zero, and what is done with it after.
    start: Option<Expr>,
    finish: Expr,
    /// How products are summed, where the schedule sums them in groups.
    dot: Option<Dot>,
    product: Option<Product>,
    /// The place on each axis: of the tile's first element for the tile's axes, of this step for the others.
    axes: Vec<Expr>,
    /// For an axis with panels, the panel's first and past-the-last place.
    panels: HashMap<usize, (Expr, Expr)>,
    /// Rows of the current register tile.
    rows: usize,
    /// Lanes that hold elements, per vector of the current register tile.
    vectors: Vec<usize>,
    /// Reduction axes that the current tile writes out.
    unrolled: Vec<usize>,
    /// What the current tile asks for beforehand.
    shares: Vec<prefetch::Share>,
    /// The step of the innermost reduction loop, if what it reads side by side with its neighbours is loaded for all.
    together: Option<value::Together>,
    /// Whether a register tile is being written, and no loop of the domain.
    inside_tile: bool,
    ranges: Ranges,
    loops: u32,
    registers: Vec<Type>,
    /// Open blocks, innermost last, and the registers that values were bound to in each.
    blocks: Vec<Vec<Stmt>>,
    bound: Vec<HashMap<(Expr, Type), Reg>>,
    /// The first function that the target cannot compute.
    unsupported: Option<Unsupported>,
}

impl<'a> Emitter<'a> {
    fn new(flat: &'a Flat, schedule: &'a Schedule, target: &'a Target) -> Emitter<'a> {
        let mut buffers = Vec::new();
        let mut arguments = Vec::new();
        for (k, operand) in flat.operands.iter().enumerate() {
            buffers.push(Buffer {
                name: format!("x{k}"),
                dtype: operand.dtype,
                len: operand.len,
                access: Access::Read,
            });
            arguments.push(Argument::Source(operand.source));
        }
        let mut packings = Vec::new();
        for packing in pack::packings(flat, schedule) {
            let (source, definition) = packing.definition(flat);
            let dtype = flat.operands[packing.buffer.0 as usize].dtype;
            let (len, id) = (packing.len(), BufferId(buffers.len() as u32));
            buffers.push(Buffer { name: format!("p{}", packings.len()), dtype, len, access: Access::Read });
            arguments.push(Argument::Packed { source, packing: definition });
            packings.push((packing, id));
        }
        let result = BufferId(buffers.len() as u32);
        buffers.push(Buffer {
            name: "y".into(),
            dtype: flat.dtype,
            len: flat.result_len,
            access: Access::Write,
        });
        arguments.push(Argument::Result);
        let (guards, body) = guard::of(flat);
        let dot = dot::fitting(flat, schedule.vector_axis, schedule.lanes, target)
            .or_else(|| dot::pairs(flat, schedule.vector_axis))
            .filter(|dot| dot.group == schedule.group);
        let (start, finish) = tile::begun(flat, schedule);
        Emitter {
            flat,
            schedule,
            target,
            buffers,
            arguments,
            result,
            packings,
            body,
            guards,
            start,
            finish,
            dot,
            product: Product::of(flat, schedule, target),
            axes: vec![Expr::int(0); flat.axes.len()],
            panels: HashMap::new(),
            rows: 1,
            vectors: vec![schedule.lanes; schedule.vectors],
            unrolled: schedule.unrolled_axes.clone(),
            shares: Vec::new(),
            together: None,
            inside_tile: false,
            ranges: Ranges::new(),
            loops: 0,
            registers: Vec::new(),
            blocks: vec![Vec::new()],
            bound: vec![HashMap::new()],
            unsupported: None,
        }
    }

    /// Of a part, questions about the loops around it that follow one another and are the same are asked once: LLVM joins
    /// them as well, but takes half as long again for MobileNetV2. Other questions are left to LLVM: joined here, they make
    /// 2 % fewer to 2 % more instructions of small networks, by target.
    fn push(&mut self, stmt: Stmt) {
        let inner = self.loops;
        let outside = |condition: &Expr| {
            guard::index_condition(condition)
                && condition.any(&mut |node| matches!(node, Expr::Loop(var) if var.0 >= inner))
        };
        let Some(block) = self.blocks.last_mut() else { return };
        match (block.last_mut(), stmt) {
            (
                Some(Stmt::If { condition: asked, then: before, otherwise: none }),
                Stmt::If { condition, then, otherwise },
            ) if *asked == condition && none.is_empty() && otherwise.is_empty() && outside(&condition) => {
                before.extend(then);
            }
            (_, stmt) => block.push(stmt),
        }
    }

    /// Runs `write` in a block of its own and gives its statements.
    fn block(&mut self, write: impl FnOnce(&mut Self)) -> Vec<Stmt> {
        self.blocks.push(Vec::new());
        self.bound.push(HashMap::new());
        write(self);
        self.bound.pop();
        self.blocks.pop().unwrap_or_default()
    }

    /// A loop over `from..to`; `write` is given its variable. `least` and `greatest` bound its values, for deciding
    /// guards.
    fn for_loop(
        &mut self,
        (from, to): (Expr, Expr),
        step: usize,
        (least, greatest): (i64, i64),
        write: impl FnOnce(&mut Self, Expr),
    ) {
        let var = LoopVar(self.loops);
        self.loops += 1;
        self.ranges.insert(var, (least, greatest));
        let body = self.block(|emitter| write(emitter, Expr::Loop(var)));
        self.ranges.remove(&var);
        let parallel = self.schedule.parallel && !self.inside_tile && self.blocks.len() == 1;
        if !body.is_empty() {
            self.push(Stmt::For { var, from, to, step: step as i64, parallel, body });
        }
    }

    fn register(&mut self, ty: Type, value: Expr) -> Reg {
        let reg = Reg(self.registers.len() as u32);
        self.registers.push(ty);
        self.push(Stmt::Let { reg, ty, value });
        reg
    }

    /// A register that holds `value` here; the same value is bound once.
    fn bind(&mut self, ty: Type, value: Expr) -> Expr {
        if let Some(reg) = self.bound.iter().rev().find_map(|known| known.get(&(value.clone(), ty))) {
            return Expr::Reg(*reg);
        }
        let reg = self.register(ty, value.clone());
        if let Some(known) = self.bound.last_mut() {
            known.insert((value, ty), reg);
        }
        Expr::Reg(reg)
    }

    /// The domain's loops from `level` on, then the register tile.
    fn domain(&mut self, level: usize) {
        let Some(&next) = self.schedule.order.get(level) else {
            self.inside_tile = true;
            self.tile();
            self.inside_tile = false;
            return;
        };
        match next {
            Loop::Panel { axis, step } => {
                let extent = self.flat.axes[axis].extent;
                self.for_loop(
                    (Expr::int(0), Expr::int(extent as i64)),
                    step,
                    (0, extent as i64 - 1),
                    |e, var| {
                        let end = (var.clone() + Expr::int(step as i64)).min(Expr::int(extent as i64));
                        e.panels.insert(axis, (var, end));
                        e.domain(level + 1);
                        e.panels.remove(&axis);
                    },
                );
            }
            Loop::Axis(axis) if Some(axis) == self.schedule.vector_axis => self.vector_loop(axis, level),
            Loop::Axis(axis) if Some(axis) == self.schedule.tile_axis => self.tile_loop(axis, level),
            Loop::Axis(axis) => {
                let extent = self.flat.axes[axis].extent as i64;
                let bounds = self.panels.get(&axis).cloned().unwrap_or((Expr::int(0), Expr::int(extent)));
                self.for_loop(bounds, 1, (0, extent - 1), |e, var| {
                    e.axes[axis] = var;
                    e.domain(level + 1);
                });
            }
        }
    }

    /// Full blocks of vectors in a loop, then what is left.
    fn vector_loop(&mut self, axis: usize, level: usize) {
        let (lanes, extent) = (self.schedule.lanes, self.flat.axes[axis].extent);
        let block = lanes * self.schedule.vectors;
        let full = extent / block * block;
        self.vectors = vec![lanes; self.schedule.vectors];
        self.steps(axis, (0, full), block, |e| e.domain(level + 1));
        if full < extent {
            let rest = extent - full;
            self.vectors = (0..rest.div_ceil(lanes)).map(|v| (rest - v * lanes).min(lanes)).collect();
            self.steps(axis, (full, extent), block, |e| e.domain(level + 1));
        }
    }

    /// Places `from..to` of an axis by `step`: a loop, or the one place itself.
    fn steps(&mut self, axis: usize, (from, to): (usize, usize), step: usize, write: impl FnOnce(&mut Self)) {
        match to.saturating_sub(from) {
            0 => (),
            n if n <= step => {
                self.axes[axis] = Expr::int(from as i64);
                write(self);
            }
            _ => {
                let last = from + (to - from - 1) / step * step;
                let bounds = (Expr::int(from as i64), Expr::int(to as i64));
                self.for_loop(bounds, step, (from as i64, last as i64), |e, var| {
                    e.axes[axis] = var;
                    write(e);
                });
            }
        }
    }

    /// The tile's rows: tiles that surely stay on the map in a loop, the others one by one at known places.
    fn tile_loop(&mut self, axis: usize, level: usize) {
        let (extent, tile) = (self.flat.axes[axis].extent, self.schedule.tile);
        if let Some((from, to)) = self.panels.get(&axis).cloned() {
            return self.panel_rows(axis, (from, to), level);
        }
        let (inner_from, inner_to) = guard::interior(&self.guards, axis, self.flat);
        let inside = |first: &Row| first.at >= inner_from && first.at + tile <= inner_to.min(extent);
        let whole = extent / tile * tile;
        let mut tiles: Vec<Row> = (0..whole).step_by(tile).map(|at| Row { at, rows: tile }).collect();
        if whole < extent {
            tiles.extend(self.left_over(whole, extent - whole));
        }
        let first_inside = tiles.iter().position(inside).unwrap_or(tiles.len());
        let inside_count = tiles[first_inside..].iter().take_while(|t| inside(t)).count();
        for &row in &tiles[..first_inside] {
            self.edge_tile(axis, row, level);
        }
        if inside_count > 0 {
            let from = tiles[first_inside].at;
            self.rows = tile;
            self.steps(axis, (from, from + inside_count * tile), tile, |e| e.domain(level + 1));
        }
        for &row in &tiles[first_inside + inside_count..] {
            self.edge_tile(axis, row, level);
        }
    }

    fn edge_tile(&mut self, axis: usize, Row { at, rows }: Row, level: usize) {
        self.rows = rows;
        self.axes[axis] = Expr::int(at as i64);
        let usual = self.unrolled.clone();
        for undecided in guard::undecided_axes(&self.guards, axis, at, self.rows, self.flat) {
            if !self.unrolled.contains(&undecided) {
                self.unrolled.push(undecided);
            }
        }
        self.domain(level + 1);
        self.unrolled = usual;
    }

    /// Rows of a panel: the panel is a whole number of tiles but for the last one, whose rest is done one row a time.
    fn panel_rows(&mut self, axis: usize, (from, to): (Expr, Expr), level: usize) {
        let (extent, tile) = (self.flat.axes[axis].extent as i64, self.schedule.tile as i64);
        let full = Expr::int(extent / tile * tile);
        self.rows = tile as usize;
        self.for_loop(
            (from.clone(), to.clone().min(full.clone())),
            tile as usize,
            (0, extent - tile),
            |e, var| {
                e.axes[axis] = var;
                e.domain(level + 1);
            },
        );
        if extent % tile != 0 {
            self.rows = (extent % tile) as usize;
            self.for_loop(
                (from.max(full), to),
                tile as usize,
                (extent / tile * tile, extent / tile * tile),
                |e, var| {
                    e.axes[axis] = var;
                    e.domain(level + 1);
                },
            );
        }
    }
}

/// The rows of one register tile.
#[derive(Debug, Clone, Copy)]
struct Row {
    at: usize,
    rows: usize,
}

/// Whether every read of operand `k` is at the place that is written next, after all folding is done.
fn in_place(flat: &Flat, k: usize) -> bool {
    let result = Affine::of(&flat.result);
    let mut reads = 0;
    let mut elsewhere = false;
    let mut look = |expr: &Expr, folded: bool| {
        expr.any(&mut |node| {
            if let Expr::Load { buffer, index, .. } = node
                && buffer.0 as usize == k
            {
                reads += 1;
                elsewhere |= folded || Affine::of(index) != result;
            }
            false
        });
    };
    look(&flat.body, flat.fold.is_some());
    look(&flat.finish, false);
    reads > 0 && !elsewhere
}

/// Redirects what `kernel` reads from `argument` to its result.
pub(crate) fn unite(kernel: &mut Kernel, argument: usize, result: usize) {
    let place = |k: usize| if k == argument { result } else { k };
    let shifted = |k: usize| BufferId((place(k) - usize::from(place(k) > argument)) as u32);
    let ids: Vec<BufferId> = (0..kernel.arguments.len()).map(shifted).collect();
    for nest in kernel.nests_mut() {
        renumber(&mut nest.body, &ids);
        nest.buffers[result].access = Access::Update;
        nest.buffers.remove(argument);
    }
    kernel.arguments.remove(argument);
    kernel.in_place.remove(argument);
}

/// Drops arguments that nothing reads any more (constants that are read packed).
fn drop_unused(kernel: &mut Kernel) {
    let mut used = vec![false; kernel.nest.buffers.len()];
    visit(&kernel.nest.body, &mut |buffer| used[buffer.0 as usize] = true);
    let mut next = 0;
    let renumbered: Vec<BufferId> = used
        .iter()
        .map(|&keep| {
            next += u32::from(keep);
            BufferId(next.saturating_sub(1))
        })
        .collect();
    let mut keep = used.iter();
    kernel.nest.buffers.retain(|_| *keep.next().unwrap_or(&true));
    let mut keep = used.iter();
    kernel.in_place.retain(|_| *keep.next().unwrap_or(&true));
    let mut keep = used.iter();
    kernel.arguments.retain(|_| *keep.next().unwrap_or(&true));
    renumber(&mut kernel.nest.body, &renumbered);
}

fn visit(body: &[Stmt], f: &mut dyn FnMut(BufferId)) {
    let in_expr = |expr: &Expr, f: &mut dyn FnMut(BufferId)| {
        expr.any(&mut |node| {
            if let Expr::Load { buffer, .. } | Expr::Rows { buffer, .. } = node {
                f(*buffer);
            }
            false
        });
    };
    for stmt in body {
        match stmt {
            Stmt::For { from, to, body, .. } => {
                in_expr(from, f);
                in_expr(to, f);
                visit(body, f);
            }
            Stmt::If { condition, then, otherwise } => {
                in_expr(condition, f);
                visit(then, f);
                visit(otherwise, f);
            }
            Stmt::Let { value, .. } | Stmt::Set { value, .. } => in_expr(value, f),
            Stmt::Prefetch { buffer, index } => {
                f(*buffer);
                in_expr(index, f);
            }
            Stmt::Store { buffer, index, value, .. } => {
                f(*buffer);
                in_expr(index, f);
                in_expr(value, f);
            }
        }
    }
}

fn renumber(body: &mut [Stmt], ids: &[BufferId]) {
    let in_expr = |expr: &mut Expr| {
        *expr = expr.rewrite(&mut |node| match node {
            Expr::Load { buffer, index, lanes, valid } => Some(Expr::Load {
                buffer: ids[buffer.0 as usize],
                index: index.clone(),
                lanes: *lanes,
                valid: *valid,
            }),
            Expr::Rows { buffer, index, stride, rows, lanes } => Some(Expr::Rows {
                buffer: ids[buffer.0 as usize],
                index: index.clone(),
                stride: *stride,
                rows: *rows,
                lanes: *lanes,
            }),
            _ => None,
        });
    };
    for stmt in body {
        match stmt {
            Stmt::For { from, to, body, .. } => {
                in_expr(from);
                in_expr(to);
                renumber(body, ids);
            }
            Stmt::If { condition, then, otherwise } => {
                in_expr(condition);
                renumber(then, ids);
                renumber(otherwise, ids);
            }
            Stmt::Let { value, .. } | Stmt::Set { value, .. } => in_expr(value),
            Stmt::Prefetch { buffer, index } => {
                *buffer = ids[buffer.0 as usize];
                in_expr(index);
            }
            Stmt::Store { buffer, index, value, .. } => {
                *buffer = ids[buffer.0 as usize];
                in_expr(index);
                in_expr(value);
            }
        }
    }
}

/// The type that arithmetic on `dtype` is done in: half floats compute as `F32`.
pub(crate) fn computed(dtype: DType) -> DType {
    match dtype {
        DType::F16 | DType::BF16 => DType::F32,
        other => other,
    }
}
