//! Elementwise work done on a result while it is still in registers.

use egg::Id;
use loops::{Expr, Source};
use ops::ops::fused::Fused;
use ops::{AnyOp, Meaning};

use crate::Rule;
use crate::map::Map;
use crate::rule::{Found, Site, Term};

/// What lies between root and map is not rounded to its element type any more.
pub const RULES: &[Rule] = &[Rule { name: "fuse-epilogue", tolerance: 1e-6, apply: fuse_epilogue }];

/// Larger epilogues would not stay in registers, and deeper ones are hard to read back from text.
const MOST_NODES: usize = 128;
const MOST_DEPTH: usize = 40;

/// Other tensors that an epilogue reads: each is a pointer to keep, and without a bound epilogues would reach through
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
        if tried.contains(&producer) || site.is_constant(producer) {
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

/// What an epilogue can be put on.
struct Root<'a> {
    op: &'a AnyOp,
    operands: usize,
    epilogue: Expr,
    /// The root's operands, and those of the epilogue so far.
    args: &'a [Id],
}

impl<'a> Root<'a> {
    fn of(site: &Site, op: &'a AnyOp, args: &'a [Id]) -> Option<Root<'a>> {
        if let AnyOp::Fused(fused) = op {
            return Some(Root {
                op: &fused.root,
                operands: fused.root_operands,
                epilogue: fused.epilogue.clone(),
                args,
            });
        }
        let Meaning::Compute(definition) = op.meaning(&site.types(args)) else { return None };
        let last_is_result = definition.results[..] == [definition.stages.len() - 1];
        last_is_result.then_some(Root { op, operands: args.len(), epilogue: Expr::Folded, args })
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
                let known = args.iter().position(|&arg| arg == class);
                let operand = known.unwrap_or_else(|| {
                    args.push(class);
                    args.len() - 1
                });
                Some(Expr::read(Source::Operand(operand), index.clone()))
            }
            _ => None,
        });
        if epilogue.size() > MOST_NODES || depth(&epilogue) > MOST_DEPTH {
            return Err(format!(
                "the epilogue would be an expression of {} nodes; at most {MOST_NODES} are",
                epilogue.size()
            ));
        }
        let reads = args.len() - self.operands;
        if reads > MOST_READS {
            return Err(format!("the epilogue would read {reads} other tensors; at most {MOST_READS} are"));
        }
        let root = Box::new(self.op.clone());
        let fused = Fused { root, root_operands: self.operands, epilogue, dtype: map.dtype };
        Ok(Some(Term::apply(fused, args.into_iter().map(Term::from))))
    }

    fn is_chain(&self, site: &Site) -> bool {
        Map::of(self.op, &site.types(&self.args[..self.operands])).is_some()
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

fn depth(expr: &Expr) -> usize {
    1 + expr.children().into_iter().map(depth).max().unwrap_or(0)
}
