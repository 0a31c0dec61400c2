//! Elementwise work done on a result while it is still in registers, and on operands as they are read.

use egg::Id;
use loops::{Definition, Expr, Source};
use ops::ops::fused::{Fused, Prologue};
use ops::{AnyOp, Meaning};

use crate::Rule;
use crate::map::Map;
use crate::rule::{Found, Site, Term};

/// What lies between root and map is not rounded to its element type any more.
pub const RULES: &[Rule] = &[Rule { name: "fuse-epilogue", tolerance: 1e-6, apply: fuse_epilogue }];

/// After all epilogues are known: what can be one is no prologue.
pub const PROLOGUES: &[Rule] = &[Rule { name: "fuse-prologue", tolerance: 1e-6, apply: fuse_prologue }];

/// Larger epilogues and prologues would not stay in registers, and deeper ones are hard to read back from text.
const MOST_NODES: usize = 128;
const MOST_DEPTH: usize = 40;

/// Other tensors that epilogue and prologues read: each is a pointer to keep, and without a bound epilogues would reach through
/// all residual blocks of a network.
const MOST_READS: usize = 4;

/// Fused chains of elementwise operators alone that a class may hold: one is enough, others are the same work
/// associated differently.
const MOST_CHAINS: usize = 4;

/// `map(root(x...), y...) = fused{root, epilogue}(x..., y...)`, for every root whose result the map reads in place. A
/// root that is fused already takes the map into its epilogue.
fn fuse_epilogue(site: &Site, found: &mut Found) {
    let (Some(map), Some((_, args))) = (site.map(), site.node.op()) else { return };
    if site.is_constant(site.class) {
        return;
    }
    let shape = &site.result().shape;
    let mut tried: Vec<Id> = Vec::new();
    for &arg in args {
        let producer = site.egraph.find(arg);
        let in_place =
            || (0..args.len()).all(|k| !site.same(args[k], producer) || map.reads_in_place(k, shape));
        // Work that changes nothing would be done again and again.
        if producer == site.class || tried.contains(&producer) || site.is_constant(producer) {
            continue;
        }
        tried.push(producer);
        if site.ty(producer).shape != *shape || !in_place() {
            continue;
        }
        for (root, root_args) in site.forms(producer) {
            if let Some(root) = Root::of(site, root, root_args) {
                match root.fused(site, &map, args, producer) {
                    Ok(term) => found.equal.extend(term),
                    Err(reason) => found.declined(reason),
                }
            }
        }
    }
    let computed = |class: &&Id| site.forms(**class).next().is_some();
    if found.equal.is_empty()
        && found.declined.is_empty()
        && let Some(&producer) = tried.iter().find(computed)
    {
        found.declined(why_not(site, producer));
    }
}

/// Why no form of `producer` takes the site's map as its epilogue.
fn why_not(site: &Site, producer: Id) -> String {
    let (ty, result) = (site.ty(producer), site.result());
    if ty.shape != result.shape {
        return format!("an epilogue works on each element in its place, and turns no {ty} into a {result}");
    }
    let mut kinds: Vec<&str> = site.forms(producer).map(|(op, _)| op.kind().name()).collect();
    kinds.sort_unstable();
    kinds.dedup();
    format!("what it reads is no kernel's last result: {}", kinds.join(" or "))
}

/// `root(map(x...), y...) = fused{prologue, root}(x..., y...)`, for every operand that the root reads at most once per
/// element: the map is computed as often as before. A prologue that is there already takes the map into it.
///
/// A map that can be the epilogue of a kernel stays there, for it saves as much and leaves the root as it is. Roots that
/// read an element again and again (a convolution does for every panel of output channels, a softmax in each
/// of its stages) would compute the map as often, between two steps of their innermost loop.
fn fuse_prologue(site: &Site, found: &mut Found) {
    let Some((op, args)) = site.node.op() else { return };
    if site.is_constant(site.class) {
        return;
    }
    let Some(root) = Root::of(site, op, args).filter(|root| !root.is_chain(site)) else { return };
    for operand in (0..root.operands).filter(|&operand| !site.is_constant(args[operand])) {
        if !root.reads_once(site, operand) {
            continue;
        }
        let producer = site.egraph.find(args[operand]);
        let is_epilogue = |(op, args)| {
            let fused = matches!(op, &AnyOp::Fused(_)).then(|| Root::of(site, op, args)).flatten();
            fused.is_some_and(|root| !root.is_chain(site))
        };
        if site.forms(producer).any(is_epilogue) {
            continue;
        }
        let maps = site.egraph[producer].nodes.iter().filter_map(|node| {
            let map = Site { class: producer, node, ..*site }.map()?;
            Some((map, node.op()?.1))
        });
        for (map, map_args) in maps.take(MOST_CHAINS) {
            match root.after(site, operand, &map, map_args) {
                Ok(term) => found.equal.extend(term),
                Err(reason) => found.declined(reason),
            }
        }
    }
}

/// What an epilogue and prologues can be put on.
struct Root<'a> {
    op: &'a AnyOp,
    operands: usize,
    epilogue: Expr,
    prologues: Vec<Prologue>,
    /// The root's operands, and those of the epilogue and the prologues so far.
    args: &'a [Id],
}

impl<'a> Root<'a> {
    fn of(site: &Site, op: &'a AnyOp, args: &'a [Id]) -> Option<Root<'a>> {
        if let AnyOp::Fused(fused) = op {
            return Some(Root {
                op: &fused.root,
                operands: fused.root_operands,
                epilogue: fused.epilogue.clone(),
                prologues: fused.prologues.clone(),
                args,
            });
        }
        let Meaning::Compute(definition) = op.meaning(&site.types(args)) else { return None };
        let last_is_result = definition.results[..] == [definition.stages.len() - 1];
        last_is_result.then_some(Root {
            op,
            operands: args.len(),
            epilogue: Expr::Folded,
            prologues: vec![],
            args,
        })
    }

    fn fused(&self, site: &Site, map: &Map, map_args: &[Id], producer: Id) -> Result<Option<Term>, String> {
        if self.is_chain(site) && chains(site) >= MOST_CHAINS {
            return Ok(None);
        }
        let mut args: Vec<Id> = self.args.iter().map(|&arg| site.egraph.find(arg)).collect();
        let epilogue = map.body.rewrite(&mut |node| match node {
            Expr::Read { source: Source::Operand(k), .. } if site.same(map_args[*k], producer) => {
                Some(self.epilogue.clone())
            }
            Expr::Read { source: Source::Operand(k), index } => {
                let class = site.egraph.find(map_args[*k]);
                if let Some(value) = site.egraph[class].data.uniform {
                    return Some(Expr::Const(value));
                }
                let known = args.iter().position(|&arg| arg == class);
                let operand = known.unwrap_or_else(|| {
                    args.push(class);
                    args.len() - 1
                });
                Some(Expr::read(Source::Operand(operand), index.clone()))
            }
            _ => None,
        });
        within_limits("epilogue", &epilogue, args.len() - self.operands)?;
        if self.is_known(site, &args, &epilogue) {
            return Ok(None);
        }
        Ok(Some(self.term(epilogue, map.dtype, self.prologues.clone(), args)))
    }

    /// The root over the operands of `map` in place of the map's result, which is `operand`.
    fn after(&self, site: &Site, operand: usize, map: &Map, map_args: &[Id]) -> Result<Option<Term>, String> {
        let shape = &site.ty(self.args[operand]).shape;
        let whole = |&k: &usize| {
            site.ty(map_args[k]).shape == *shape
                && !site.is_constant(map_args[k])
                && map.reads_in_place(k, shape)
        };
        // The operand's place is taken by a tensor of its shape; what else reads it there would read another.
        let Some(leading) = (0..map_args.len()).find(whole) else { return Ok(None) };
        let (own, others): (Vec<&Prologue>, Vec<&Prologue>) =
            self.prologues.iter().partition(|prologue| prologue.operand == operand);
        let read_elsewhere = others.iter().map(|prologue| &prologue.body).chain([&self.epilogue]);
        if read_elsewhere.into_iter().any(|expr| reads(expr, operand)) {
            return Ok(None);
        }
        let mut args: Vec<Id> = self.args.iter().map(|&arg| site.egraph.find(arg)).collect();
        args[operand] = site.egraph.find(map_args[leading]);
        let number = |args: &mut Vec<Id>, class: Id| {
            args.iter().position(|&arg| arg == class).unwrap_or_else(|| {
                args.push(class);
                args.len() - 1
            })
        };
        let map_body = map.body.rewrite(&mut |node| match node {
            Expr::Read { source: Source::Operand(k), index } => {
                let place = number(&mut args, site.egraph.find(map_args[*k]));
                Some(Expr::read(Source::Operand(place), index.clone()))
            }
            _ => None,
        });
        let body = match own.first() {
            None => map_body,
            Some(prologue) => prologue.body.rewrite(&mut |node| match node {
                Expr::Read { source: Source::Operand(k), index } if *k == operand => {
                    Some(map_body.substitute_axes(index))
                }
                _ => None,
            }),
        };
        within_limits("prologue", &body, args.len() - self.operands)?;
        let dtype = own.first().map_or(map.dtype, |prologue| prologue.dtype);
        let mut prologues: Vec<Prologue> = others.into_iter().cloned().collect();
        prologues.push(Prologue { operand, body, dtype });
        prologues.sort();
        Ok(Some(self.term(self.epilogue.clone(), site.result().dtype, prologues, args)))
    }

    fn term(&self, epilogue: Expr, dtype: ir::DType, prologues: Vec<Prologue>, args: Vec<Id>) -> Term {
        let root = Box::new(self.op.clone());
        let fused = Fused { root, root_operands: self.operands, epilogue, dtype, prologues };
        Term::apply(fused, args.into_iter().map(Term::from))
    }

    /// Whether no element of an operand is read more than once.
    fn reads_once(&self, site: &Site, operand: usize) -> bool {
        let types = self.types(site);
        let Meaning::Compute(definition) = self.op.meaning(&types) else { return false };
        read_count(&definition, operand) <= types[operand].elements()
    }

    /// Of the root's operands, as it sees them.
    fn types(&self, site: &Site) -> Vec<ir::TensorType> {
        let mut types = site.types(&self.args[..self.operands]);
        self.prologues.iter().for_each(|prologue| types[prologue.operand].dtype = prologue.dtype);
        types
    }

    /// Whether the class has a form of the same root over the same operands whose epilogue is no larger and reads
    /// nothing else: the new one would never be taken, and equal terms can be written in ever larger ones.
    fn is_known(&self, site: &Site, args: &[Id], epilogue: &Expr) -> bool {
        let (root, others) = args.split_at(self.operands);
        site.forms_of::<Fused>(site.class).any(|(known, known_args)| {
            let same = |(&a, &b): (&Id, &Id)| site.same(a, b);
            known.root_operands == self.operands
                && *known.root == *self.op
                && known.prologues == self.prologues
                && known_args[..self.operands].iter().zip(root).all(same)
                && known_args[self.operands..]
                    .iter()
                    .all(|&arg| others.iter().any(|&other| site.same(arg, other)))
                && known.epilogue.size() <= epilogue.size()
        })
    }

    fn is_chain(&self, site: &Site) -> bool {
        Map::of(self.op, &self.types(site)).is_some()
    }
}

/// Fused nodes of the site's class that are elementwise from their root on.
fn chains(site: &Site) -> usize {
    let nodes = site.egraph[site.class].nodes.iter();
    nodes
        .filter(|node| {
            matches!(node.op(), Some((AnyOp::Fused(_), _))) && Site { node, ..*site }.map().is_some()
        })
        .count()
}

/// Why `expr`, reading `reads` tensors that are none of the root's, is too much for one kernel.
fn within_limits(what: &str, expr: &Expr, reads: usize) -> Result<(), String> {
    let size = expr.size();
    if size > MOST_NODES || depth(expr) > MOST_DEPTH {
        return Err(format!("the {what} would be an expression of {size} nodes; at most {MOST_NODES} are"));
    }
    if reads > MOST_READS {
        return Err(format!("the {what} would read {reads} other tensors; at most {MOST_READS} are"));
    }
    Ok(())
}

/// How often a definition reads an element of `operand`.
fn read_count(definition: &Definition, operand: usize) -> usize {
    let stages = definition.stages.iter().map(|stage| {
        let points = stage.domain.iter().product::<usize>();
        let folded = stage.reduction.iter().product::<usize>() * count_reads(&stage.body, operand);
        points * (folded + stage.finish.as_ref().map_or(0, |finish| count_reads(finish, operand)))
    });
    stages.sum()
}

fn count_reads(expr: &Expr, operand: usize) -> usize {
    let own = matches!(expr, Expr::Read { source: Source::Operand(k), .. } if *k == operand);
    usize::from(own) + expr.children().into_iter().map(|child| count_reads(child, operand)).sum::<usize>()
}

fn reads(expr: &Expr, operand: usize) -> bool {
    count_reads(expr, operand) > 0
}

fn depth(expr: &Expr) -> usize {
    1 + expr.children().into_iter().map(depth).max().unwrap_or(0)
}
