//! The loops of the five stages, block of tile rows after block.

use ir::{DType, Tensor, TensorType};
use loops::affine::Affine;
use loops::{BufferId, Compare, Definition, Expr, Fold, LoopVar, Source, Stage, Stmt};
use targets::Target;

use super::recognize::Convolution;
use super::transform::{TAPS, Transforms, even_and_odd, mirrored, row_of};
use super::{Block, Winograd};
use crate::flat::{Axis, Flat};
use crate::join::Joined;
use crate::math::Unsupported;
use crate::{Argument, Kernel, Loop, Operand, Schedule, View, choose, emit};

/// What stands for a block's first row of tiles, and for a row of its padded input.
const START: LoopVar = LoopVar(u32::MAX);
const ROW: LoopVar = LoopVar(u32::MAX - 1);

/// The stages, by what `Source::Stage` calls them.
const PADDED: usize = 0;
const COLUMNS: usize = 1;
const INPUT: usize = 2;
const PRODUCTS: usize = 3;
const ROWS: usize = 4;
const RESULT: usize = 5;

/// Which scratch each stage but the result lies in: a stage's operand is dead when the next one has run.
const SLOTS: [usize; 5] = [0, 1, 2, 0, 1];

/// The kernel as loops; `None` where tiles of this form can't make it.
pub(crate) fn lower(
    name: &str,
    flat: &Flat,
    form: Winograd,
    target: &Target,
) -> Result<Option<Kernel>, Unsupported> {
    let Some(convolution) = Convolution::of(flat) else { return Ok(None) };
    let (Some(transforms), Some(block)) =
        (Transforms::of(form.outputs), Block::of(&convolution, form).filter(|block| block.rows > 0))
    else {
        return Ok(None);
    };
    let places = SLOTS.map(Argument::Scratch).into_iter().chain([Argument::Result]).collect();
    let of_stages = super::of_stages(&convolution, form, target);
    let schedule = choose::default_schedule(&product(&convolution, block), &of_stages);
    let mut tiles = Tiles {
        name,
        convolution: &convolution,
        transforms,
        largest: block,
        schedule,
        threads: target.threads,
        target: &of_stages,
        joined: Joined::new(places),
        elsewhere: Vec::new(),
    };
    let body = tiles.blocks()?;
    let Tiles { joined, elsewhere, .. } = tiles;
    let (nest, arguments) = joined.into_nest(name, body);
    let in_place = |argument: &Argument| match argument {
        Argument::Source(source) => !elsewhere.contains(source),
        _ => false,
    };
    Ok(Some(Kernel {
        in_place: arguments.iter().map(in_place).collect(),
        nest,
        arguments,
        blocks: vec![],
        stages: vec![],
        estimate: Default::default(),
        without_matrices: None,
        workloads: vec![],
        chosen: Default::default(),
    }))
}

struct Tiles<'a> {
    name: &'a str,
    convolution: &'a Convolution<'a>,
    transforms: Transforms,
    /// The block that scratch is made for.
    largest: Block,
    /// Of the products, in blocks of any height: all read the same packed weights.
    schedule: Schedule,
    /// That share out the blocks; `target` has those that share out the loops of a stage.
    threads: usize,
    target: &'a Target,
    joined: Joined,
    /// What is read at other places than the one that is written next.
    elsewhere: Vec<Source>,
}

impl Tiles<'_> {
    /// A loop over the blocks, which threads share out. Those at the lower edge may be others than the rest: with fewer
    /// rows, or with tiles that leave the map. Where one block is the whole map, threads share out the loops of each stage:
    /// all of them read the same weights, each its own part.
    fn blocks(&mut self) -> Result<Vec<Stmt>, Unsupported> {
        let (height, rows, outputs) = (self.convolution.height(), self.largest.rows, self.transforms.outputs);
        let tile_rows = height.div_ceil(outputs);
        let (count, whole) = (tile_rows.div_ceil(rows), height / outputs / rows);
        if count == 1 {
            return self.block(self.largest, Expr::int(0), tile_rows * outputs - height);
        }
        let mut joined = std::mem::replace(&mut self.joined, Joined::new(vec![]));
        let body = joined.blocks(count, self.threads, |joined, number| {
            std::mem::swap(&mut self.joined, joined);
            let mut body = Vec::new();
            if whole > 0 {
                body = self.block(self.largest, number.clone() * Expr::int(rows as i64), 0)?;
            }
            for block in whole..count {
                let start = block * rows;
                let edge = Block { rows: rows.min(tile_rows - start), ..self.largest };
                let over = ((start + edge.rows) * outputs).saturating_sub(height);
                let here = self.block(edge, Expr::int(start as i64), over)?;
                let condition = Expr::compare(Compare::Eq, number.clone(), Expr::int(block as i64));
                body = vec![Stmt::If { condition, then: here, otherwise: body }];
            }
            std::mem::swap(&mut self.joined, joined);
            Ok(body)
        })?;
        self.joined = joined;
        Ok(body)
    }

    /// All stages of one block from tile row `start` on, of whose rows of outputs the last `over` are not on the map.
    fn block(&mut self, block: Block, start: Expr, over: usize) -> Result<Vec<Stmt>, Unsupported> {
        let (m, points, tiles, across) = (block.outputs, block.points, block.tiles(), block.across);
        let (inputs, channels) = (block.inputs, block.channels);
        let row = block.padded().0 * inputs;
        let mut body = self.padded(block, &start)?;
        let columns = Transform {
            stages: [PADDED, COLUMNS],
            matrix: self.transforms.input.clone(),
            terms: even_and_odd,
            axes: vec![along(block.rows, m * row, points * row), along(row, 1, 1)],
            steps: (row, row),
        };
        body.extend(self.transform(columns, &start)?);
        let input = Transform {
            stages: [COLUMNS, INPUT],
            matrix: self.transforms.input.clone(),
            terms: even_and_odd,
            axes: vec![
                along(block.rows, points * row, across * inputs),
                along(points, row, points * tiles * inputs),
                along(across, m * inputs, inputs),
                along(inputs, 1, 1),
            ],
            steps: (inputs, tiles * inputs),
        };
        body.extend(self.transform(input, &start)?);
        let products = self.sized(product(self.convolution, block));
        body.extend(self.stage(PRODUCTS, &products, &self.schedule.clone(), &start)?);
        let rows = Transform {
            stages: [PRODUCTS, ROWS],
            matrix: self.transforms.output.clone(),
            terms: mirrored,
            axes: vec![
                along(points, points * tiles * channels, tiles * m * channels),
                along(tiles, channels, m * channels),
                along(channels, 1, 1),
            ],
            steps: (tiles * channels, channels),
        };
        body.extend(self.transform(rows, &start)?);
        for down in parts(block.rows * m - over, m) {
            for right in parts(self.convolution.width(), m) {
                let (flat, schedule) = self.result(block, down, right);
                body.extend(self.stage(RESULT, &flat, &schedule, &start)?);
            }
        }
        Ok(body)
    }

    /// The rows of the input that the block looks at, with zeros where there is no input.
    fn padded(&mut self, block: Block, start: &Expr) -> Result<Vec<Stmt>, Unsupported> {
        let convolution = self.convolution;
        let (width, height) = block.padded();
        let channels = block.inputs;
        let within = |range: (i64, i64)| (range.0 as usize, (range.1 as usize).min(width));
        let (first, last) = within(convolution.columns);
        let place = Expr::Loop(START) * Expr::int(block.outputs as i64) + Expr::Loop(ROW);
        let var = self.joined.variable();
        let outer = [(START, start.clone()), (ROW, Expr::Loop(var))];
        let fill = |tiles: &mut Self, from: usize, to: usize, input: bool| {
            if from >= to {
                return Ok(vec![]);
            }
            let body = match input {
                true => {
                    let mut axes: Vec<Expr> = vec![Expr::int(0); convolution.flat.axes.len()];
                    axes[convolution.domain[0]] = place.clone();
                    axes[convolution.domain[1]] = Expr::Axis(0) + Expr::int(from as i64);
                    axes[convolution.reduction[2]] = Expr::Axis(1);
                    convolution.input.substitute_axes(&axes)
                }
                false => Expr::constant(DType::F32, 0.0),
            };
            let axes = [to - from, channels].map(|extent| Axis { extent, reduction: false });
            let result =
                affine(&[(0, channels), (1, 1)]).plus(&Affine::constant((from * channels) as i64), 1);
            let mut flat = Flat {
                axes: axes.into(),
                fold: None,
                body,
                finish: Expr::Folded,
                result: result.to_expr(),
                dtype: DType::F32,
                folded: DType::F32,
                operands: convolution.flat.operands.clone(),
                result_len: tiles.slot(PADDED),
            };
            flat.simplify();
            let schedule = choose::default_schedule(&flat, tiles.target);
            let kernel = emit::emit(tiles.name, &flat, &schedule, tiles.target)?;
            tiles.note(&kernel, true);
            let moved = Expr::Loop(var) * Expr::int((width * channels) as i64);
            Ok(tiles.joined.add(PADDED, kernel, &outer, &moved))
        };
        let mut there = fill(self, 0, first, false)?;
        there.extend(fill(self, first, last, true)?);
        there.extend(fill(self, last, width, false)?);
        let place = start.clone() * Expr::int(block.outputs as i64) + Expr::Loop(var);
        let (low, high) = convolution.rows;
        let inside = Expr::compare(Compare::Ge, place.clone(), Expr::int(low)).and(Expr::compare(
            Compare::Lt,
            place,
            Expr::int(high),
        ));
        let row = Stmt::If { condition: inside, then: there, otherwise: fill(self, 0, width, false)? };
        let (from, to) = (Expr::int(0), Expr::int(height as i64));
        let parallel = self.target.threads > 1;
        Ok(vec![Stmt::For { var, from, to, step: 1, parallel, body: vec![row] }])
    }

    /// A product with one of the matrices along an axis of a stage.
    fn transform(&mut self, transform: Transform, start: &Expr) -> Result<Vec<Stmt>, Unsupported> {
        let Transform { stages: [from, to], matrix, terms, axes, steps } = transform;
        let vector_axis = axes.len();
        let tile_axis = vector_axis - 1;
        let at = |k: usize| if k < tile_axis { k } else { vector_axis };
        let read = axes.iter().enumerate().map(|(k, along)| (at(k), along.from)).collect::<Vec<_>>();
        let value =
            |k: usize| load(BufferId(0), affine(&read).plus(&Affine::constant((k * steps.0) as i64), 1));
        let mut written = axes.iter().enumerate().map(|(k, along)| (at(k), along.to)).collect::<Vec<_>>();
        written.push((tile_axis, steps.1));
        let mut extents: Vec<usize> = axes.iter().map(|along| along.extent).collect();
        extents.insert(tile_axis, matrix.len());
        let flat = Flat {
            axes: extents.iter().map(|&extent| Axis { extent, reduction: false }).collect(),
            fold: None,
            body: row_of(&matrix, tile_axis, |row| terms(row, &value)),
            finish: Expr::Folded,
            result: affine(&written).to_expr(),
            dtype: DType::F32,
            folded: DType::F32,
            operands: vec![scratch(from, self.slot(from))],
            result_len: self.slot(to),
        };
        let schedule = self.arranged(&flat, vector_axis, tile_axis);
        self.stage(to, &flat, &schedule, start)
    }

    /// The outputs of some of a block's tiles: of those from the first of `down` and `right` on, as many as they say,
    /// so many outputs of each.
    fn result(&self, block: Block, down: Part, right: Part) -> (Flat, Schedule) {
        let (m, tiles, channels) = (block.outputs, block.tiles(), block.channels);
        let [tile_row, tile, across, output, channel] = [0, 1, 2, 3, 4];
        let first = (down.first * block.across + right.first) * m * channels;
        let place = affine(&[
            (tile_row, block.across * m * channels),
            (tile, m * channels),
            (across, channels),
            (channel, 1),
        ]);
        let value = |point: usize| {
            let offset = first + point * tiles * m * channels;
            load(BufferId(0), place.clone().plus(&Affine::constant(offset as i64), 1))
        };
        let convolution = self.convolution;
        let outputs = &self.transforms.output[..down.outputs];
        let scaled = |expr: Expr, by: usize| expr * Expr::int(by as i64);
        let row = scaled(Expr::Loop(START) + Expr::Axis(tile_row) + Expr::int(down.first as i64), m);
        let column = scaled(Expr::Axis(tile) + Expr::int(right.first as i64), m);
        let mut axes = vec![Expr::int(0); convolution.flat.axes.len()];
        axes[convolution.domain[0]] = row + Expr::Axis(output);
        axes[convolution.domain[1]] = column + Expr::Axis(across);
        axes[convolution.domain[2]] = Expr::Axis(channel);
        // The stage's own operand stands before those of the convolution.
        let shifted = |expr: &Expr| {
            expr.substitute_axes(&axes).rewrite(&mut |node| match node {
                Expr::Load { buffer, index, .. } => Some(load(BufferId(buffer.0 + 1), Affine::of(index))),
                _ => None,
            })
        };
        let extents = [down.tiles, right.tiles, right.outputs, down.outputs, channels];
        let mut operands = vec![scratch(ROWS, self.slot(ROWS))];
        operands.extend(convolution.flat.operands.iter().cloned());
        let flat = Flat {
            axes: extents.iter().map(|&extent| Axis { extent, reduction: false }).collect(),
            fold: None,
            body: row_of(outputs, output, |row| mirrored(row, &value)),
            finish: shifted(&convolution.flat.finish),
            result: Affine::of(&convolution.flat.result.substitute_axes(&axes)).to_expr(),
            dtype: convolution.flat.dtype,
            folded: DType::F32,
            operands,
            result_len: convolution.flat.result_len,
        };
        let schedule = self.arranged(&flat, channel, output);
        (flat, schedule)
    }

    /// All rows of a transform for one vector after the other.
    fn arranged(&self, flat: &Flat, vector_axis: usize, tile_axis: usize) -> Schedule {
        let lanes = choose::lanes(flat, self.target).min(flat.axes[vector_axis].extent.next_power_of_two());
        let outer = (0..flat.axes.len()).filter(|&axis| axis != vector_axis && axis != tile_axis);
        let schedule = Schedule {
            vector_axis: Some(vector_axis),
            lanes,
            vectors: 1,
            tile_axis: Some(tile_axis),
            tile: flat.axes[tile_axis].extent,
            order: outer.chain([vector_axis, tile_axis]).map(Loop::Axis).collect(),
            ..Schedule::plain()
        };
        choose::on_threads(flat, schedule, self.target)
    }

    /// The loops of a stage within the block that starts at tile row `start`.
    fn stage(
        &mut self,
        stage: usize,
        flat: &Flat,
        schedule: &Schedule,
        start: &Expr,
    ) -> Result<Vec<Stmt>, Unsupported> {
        let mut kernel = emit::emit(self.name, flat, schedule, self.target)?;
        for argument in &mut kernel.arguments {
            if let Argument::Packed { packing, .. } = argument
                && stage == PRODUCTS
            {
                *packing = transformed(self.convolution, &self.transforms, packing);
            }
        }
        self.note(&kernel, false);
        Ok(self.joined.add(stage, kernel, &[(START, start.clone())], &Expr::int(0)))
    }

    /// Remembers what a kernel reads at other places than the one that it writes next.
    fn note(&mut self, kernel: &Kernel, all: bool) {
        for (argument, &own) in kernel.arguments.iter().zip(&kernel.in_place) {
            if let Argument::Source(source) = argument
                && (all || !own)
            {
                self.elsewhere.push(*source);
            }
        }
    }

    /// Elements of the scratch that a stage lies in.
    fn slot(&self, stage: usize) -> usize {
        let elements = self.largest.stages().into_iter().zip(SLOTS);
        elements.filter(|(_, slot)| *slot == SLOTS[stage]).map(|(elements, _)| elements).max().unwrap_or(0)
    }

    /// The products with their ends as long as scratch is.
    fn sized(&self, mut flat: Flat) -> Flat {
        flat.operands[0].len = self.slot(INPUT);
        flat.result_len = self.slot(PRODUCTS);
        flat
    }
}

/// A product with a matrix along an axis of what a stage left.
struct Transform {
    /// The stage that is read and the one that is written.
    stages: [usize; 2],
    matrix: Vec<Vec<f64>>,
    /// A row of the matrix times the values.
    terms: fn(&[f64], &dyn Fn(usize) -> Expr) -> Expr,
    /// The axes that stay, the last one dense.
    axes: Vec<Along>,
    /// From one value to the next, and from one row of the result to the next.
    steps: (usize, usize),
}

/// An axis and its strides in what is read and what is written, in elements.
struct Along {
    extent: usize,
    from: usize,
    to: usize,
}

fn along(extent: usize, from: usize, to: usize) -> Along {
    Along { extent, from, to }
}

/// Tiles along a side of the map, and how many outputs of each are on the map.
#[derive(Clone, Copy)]
struct Part {
    first: usize,
    tiles: usize,
    outputs: usize,
}

/// The whole tiles, and the one that leaves the map.
fn parts(extent: usize, outputs: usize) -> Vec<Part> {
    let (tiles, rest) = (extent / outputs, extent % outputs);
    let parts = [Part { first: 0, tiles, outputs }, Part { first: tiles, tiles: 1, outputs: rest }];
    parts.into_iter().filter(|part| part.tiles * part.outputs > 0).collect()
}

/// The products of a block: for each pair of points, tiles by input channels times input by output channels.
pub(super) fn product(convolution: &Convolution, block: Block) -> Flat {
    let (points, tiles, inputs, channels) = (block.points, block.tiles(), block.inputs, block.channels);
    let pairs = points * points;
    let axis = |reduction: bool| move |extent: usize| Axis { extent, reduction };
    let [down, right, tile, channel, input] = [0, 1, 2, 3, 4];
    let matrices = |elements: usize| [(down, points * elements), (right, elements)];
    let address = |elements: usize, row: (usize, usize), column: usize| {
        affine(&[&matrices(elements)[..], &[row, (column, 1)]].concat())
    };
    let weights = Operand {
        source: convolution.flat.operands[convolution.weights.0 as usize].source,
        constant: true,
        ..scratch(INPUT, pairs * inputs * channels)
    };
    let left = load(BufferId(0), address(tiles * inputs, (tile, inputs), input));
    let right = load(BufferId(1), address(inputs * channels, (input, channels), channel));
    Flat {
        axes: [points, points, tiles, channels]
            .map(axis(false))
            .into_iter()
            .chain([axis(true)(inputs)])
            .collect(),
        fold: Some(Fold::Sum),
        body: left * right,
        finish: Expr::Folded,
        result: address(tiles * channels, (tile, channels), channel).to_expr(),
        dtype: DType::F32,
        folded: DType::F32,
        operands: vec![scratch(INPUT, pairs * tiles * inputs), weights],
        result_len: pairs * tiles * channels,
    }
}

/// The packing of weights that are transformed first, for the products' `packing`, whose axes are both points, blocks of
/// output channels, input channels, and the output channels of a block.
fn transformed(convolution: &Convolution, transforms: &Transforms, packing: &Definition) -> Definition {
    let (inputs, channels) = (convolution.inputs(), convolution.channels());
    let points = transforms.points();
    let matrix: Vec<u8> =
        transforms.weights.iter().flatten().flat_map(|&value| (value as f32).to_le_bytes()).collect();
    let table = Tensor::new(TensorType::new(DType::F32, [points, TAPS]), matrix);
    let factor =
        |point: usize, tap: usize| Expr::read(Source::Table(0), [Expr::Axis(point), Expr::Axis(tap)]);
    // Along the columns: point, tap of the row, input, output channel.
    let mut axes = vec![Expr::int(0); convolution.flat.axes.len()];
    axes[convolution.domain[2]] = Expr::Axis(3);
    let [down, right, input] = convolution.reduction;
    axes[down] = Expr::Axis(4);
    axes[right] = Expr::Axis(1);
    axes[input] = Expr::Axis(2);
    let weight =
        Expr::read(Source::Operand(0), [convolution.weights_address.to_expr().substitute_axes(&axes)]);
    let columns =
        Stage::reduce(DType::F32, [points, TAPS, inputs, channels], Fold::Sum, [TAPS], factor(0, 4) * weight);
    let packed = packing.stages.iter().map(|stage| {
        let (domain, tap) = (&stage.domain, stage.domain.len());
        let block = domain.last().copied().unwrap_or(1);
        let channel = Expr::Axis(2) * Expr::int(block as i64) + Expr::Axis(4);
        let along =
            Expr::read(Source::Stage(0), [Expr::Axis(0), Expr::Axis(tap), Expr::Axis(3), channel.clone()]);
        let zero = Expr::constant(DType::F32, 0.0);
        let body = Expr::select(channel.within(channels), factor(1, tap) * along, zero);
        Stage::reduce(DType::F32, domain.clone(), Fold::Sum, [TAPS], body)
    });
    Definition::of([columns].into_iter().chain(packed).collect()).with_tables(vec![table])
}

fn scratch(stage: usize, len: usize) -> Operand {
    let view = View::contiguous(&[len]);
    Operand { source: Source::Stage(stage), dtype: DType::F32, view, len, constant: false }
}

fn load(buffer: BufferId, address: Affine) -> Expr {
    Expr::Load { buffer, index: Box::new(address.to_expr()), lanes: 1, valid: 1 }
}

/// `Σ axis · stride`.
fn affine(terms: &[(usize, usize)]) -> Affine {
    terms.iter().fold(Affine::constant(0), |sum, &(axis, stride)| {
        sum.plus(&Affine::of(&Expr::Axis(axis)), stride as i64)
    })
}
