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

/// Other tensors that epilogue and prologues read: each is a pointer to keep, and without a bound epilogues would reach
/// through all residual blocks of a network.
const MOST_READS: usize = 4;

/// Fused chains of elementwise operators alone that a class may hold: one is enough, others are the same work
/// associated differently.
const MOST_CHAINS: usize = 4;

/// Forms with a prologue that a class may hold: where a map has many forms, more of them say the same.
const MOST_PROLOGUES: usize = 16;

/// `map(root(x...), y...) = fused{root, epilogue}(x..., y...)`, for every root whose result the map reads in place. A
/// root that is fused already takes the map into its epilogue.
fn fuse_epilogue(site: &Site, found: &mut Found) {
    let (Some(map), Some((op, args))) = (site.map(), site.node.op()) else { return };
    if site.is_constant(site.class) || repeats(site, site.class, op, args) {
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
        let roots = site.forms(producer).filter(|(op, args)| !repeats(site, producer, op, args));
        for (root, root_args) in roots {
            if let Some(root) = Root::of(site, root, root_args) {
                match root.fused(site, &found.equal, &map, args, producer) {
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

/// `root(map(x...), y...) = fused{prologue, root}(x..., y...)`, for every operand of which the root reads each element at
/// one place: a sum does, and a convolution of 1 x 1, where all output channels of a register tile share what was
/// computed for the row. How often that is done again for other tiles is for the cost model to weigh. A prologue that
/// is there already takes the map into it.
///
/// Windows that overlap, and the stages of a softmax, would compute the map for every tap or stage. A map of one tensor
/// that can be an epilogue stays there: it saves as much and leaves the root as it is. One of two (a gate) may have to
/// wait for the other, when its first has long been stored.
fn fuse_prologue(site: &Site, found: &mut Found) {
    let Some((op, args)) = site.node.op() else { return };
    if site.is_constant(site.class) || repeats(site, site.class, op, args) {
        return;
    }
    let Some(root) = Root::of(site, op, args).filter(|root| !root.is_chain(site)) else { return };
    for operand in (0..root.operands).filter(|&operand| !site.is_constant(args[operand])) {
        if !root.reads_once(site, operand) {
            continue;
        }
        let producer = site.egraph.find(args[operand]);
        let has_epilogue = site.forms(producer).any(|(op, args)| {
            let fused = matches!(op, AnyOp::Fused(_)).then(|| Root::of(site, op, args)).flatten();
            fused.is_some_and(|root| !root.is_chain(site))
        });
        let maps = site.egraph[producer].nodes.iter().filter_map(|node| {
            let (map, (_, args)) = (Site { class: producer, node, ..*site }.map()?, node.op()?);
            (!has_epilogue || joins_tensors(site, args)).then_some((map, args))
        });
        for (map, map_args) in maps.take(MOST_CHAINS) {
            // Work that changes nothing would be done again and again.
            if map_args.iter().any(|&arg| site.same(arg, producer)) {
                continue;
            }
            if with_prologue(site) + found.equal.len() >= MOST_PROLOGUES {
                return;
            }
            match root.after(site, &found.equal, operand, &map, map_args) {
                Ok(term) => found.equal.extend(term),
                Err(reason) => found.declined(reason),
            }
        }
    }
}

/// Whether an earlier form of `class` differs from this one in the values of constants alone: what is made of either is
/// as good. Scales and shifts that move into weights leave many such forms.
fn repeats(site: &Site, class: Id, op: &AnyOp, args: &[Id]) -> bool {
    let earlier = site.forms(class).take_while(|(known, known_args)| (*known, *known_args) != (op, args));
    let mut alike = earlier.filter(|(known, known_args)| *known == op && known_args.len() == args.len());
    alike.any(|(_, known_args)| known_args.iter().zip(args).all(|(&a, &b)| interchangeable(site, a, b)))
}

/// Whether it makes no difference to a kernel which of the two it reads: they are the same, or constants of one type;
/// leading axes of one element do not count.
fn interchangeable(site: &Site, a: Id, b: Id) -> bool {
    let (x, y) = (site.ty(a), site.ty(b));
    let extents =
        |ty: &ir::TensorType| ty.shape.iter().copied().skip_while(|&extent| extent == 1).collect::<Vec<_>>();
    let alike = || x.dtype == y.dtype && extents(x) == extents(y);
    site.same(a, b) || site.is_constant(a) && site.is_constant(b) && alike()
}

/// Whether more than one of `args` is not known at compile time.
fn joins_tensors(site: &Site, args: &[Id]) -> bool {
    let mut computed: Vec<Id> =
        args.iter().filter(|&&arg| !site.is_constant(arg)).map(|&arg| site.egraph.find(arg)).collect();
    computed.sort_unstable();
    computed.dedup();
    computed.len() > 1
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

    fn fused(
        &self,
        site: &Site,
        found: &[Term],
        map: &Map,
        map_args: &[Id],
        producer: Id,
    ) -> Result<Option<Term>, String> {
        if self.is_chain(site) && chains(site) >= MOST_CHAINS {
            return Ok(None);
        }
        let mut args: Vec<Id> = self.args.iter().map(|&arg| site.egraph.find(arg)).collect();
        let epilogue = over(site, map, map_args, &mut args, Some((producer, &self.epilogue)));
        within_limits("epilogue", &epilogue, args.len() - self.operands)?;
        Ok(self.term(site, found, (epilogue, map.dtype), self.prologues.clone(), args))
    }

    /// The root over the operands of `map` in place of the map's result, which is `operand`.
    fn after(
        &self,
        site: &Site,
        found: &[Term],
        operand: usize,
        map: &Map,
        map_args: &[Id],
    ) -> Result<Option<Term>, String> {
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
        let map_body = over(site, map, map_args, &mut args, None);
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
        Ok(self.term(site, found, (self.epilogue.clone(), site.result().dtype), prologues, args))
    }

    /// The root with these on it, unless something as good is known.
    fn term(
        &self,
        site: &Site,
        found: &[Term],
        (epilogue, dtype): (Expr, ir::DType),
        prologues: Vec<Prologue>,
        args: Vec<Id>,
    ) -> Option<Term> {
        let root = Box::new(self.op.clone());
        let fused = Fused { root, root_operands: self.operands, epilogue, dtype, prologues };
        (!is_known(site, found, &fused, &args)).then(|| Term::apply(fused, args.into_iter().map(Term::from)))
    }

    /// Whether each element of an operand is read at one place at most; axes that the place does not depend on do not
    /// count.
    fn reads_once(&self, site: &Site, operand: usize) -> bool {
        let types = self.types(site);
        let Meaning::Compute(definition) = self.op.meaning(&types) else { return false };
        places(&definition, operand) <= types[operand].elements()
    }

    /// Of the root's operands, as it sees them.
    fn types(&self, site: &Site) -> Vec<ir::TensorType> {
        let mut types = site.types(&self.args[..self.operands]);
        self.prologues.iter().for_each(|prologue| types[prologue.operand].dtype = prologue.dtype);
        types
    }

    fn is_chain(&self, site: &Site) -> bool {
        Map::of(self.op, &self.types(site)).is_some()
    }
}

/// Whether the class is known to have, or `found` to get, a form of the same root over the same operands whose epilogue
/// and prologues are no larger and read nothing else: the new one would never be taken, and equal terms can be written
/// in ever larger ones.
fn is_known(site: &Site, found: &[Term], new: &Fused, args: &[Id]) -> bool {
    let (root, others) = args.split_at(new.root_operands);
    let as_good = |known: &Fused, known_args: &[Id]| {
        let same = |(&a, &b): (&Id, &Id)| interchangeable(site, a, b);
        let no_larger = |(known, new): (&Prologue, &Prologue)| {
            known.operand == new.operand && known.dtype == new.dtype && known.body.size() <= new.body.size()
        };
        known.root_operands == new.root_operands
            && known.root == new.root
            && known.prologues.len() == new.prologues.len()
            && known.prologues.iter().zip(&new.prologues).all(no_larger)
            && known_args.len() <= args.len()
            && known_args[..new.root_operands].iter().zip(root).all(same)
            && known_args[new.root_operands..]
                .iter()
                .all(|&arg| others.iter().any(|&other| interchangeable(site, arg, other)))
            && known.epilogue.size() <= new.epilogue.size()
    };
    let just_found = |term: &Term| {
        let Term::Apply(AnyOp::Fused(known), args) = term else { return false };
        let class = |arg: &Term| if let Term::Class(class) = arg { Some(*class) } else { None };
        let args: Option<Vec<Id>> = args.iter().map(class).collect();
        args.is_some_and(|args| as_good(known, &args))
    };
    site.forms_of::<Fused>(site.class).any(|(known, args)| as_good(known, args))
        || found.iter().any(just_found)
}

/// Fused nodes of the site's class that have a prologue.
fn with_prologue(site: &Site) -> usize {
    let nodes = site.egraph[site.class].nodes.iter();
    nodes
        .filter(|node| matches!(node.op(), Some((AnyOp::Fused(fused), _)) if !fused.prologues.is_empty()))
        .count()
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

/// The map's body over `args`, to which is added what it reads beside them; `known` is what one class is computed by.
fn over(site: &Site, map: &Map, map_args: &[Id], args: &mut Vec<Id>, known: Option<(Id, &Expr)>) -> Expr {
    map.body.rewrite(&mut |node| {
        let Expr::Read { source: Source::Operand(k), index } = node else { return None };
        let class = site.egraph.find(map_args[*k]);
        if let Some((_, value)) = known.filter(|(known, _)| *known == class) {
            return Some(value.clone());
        }
        if let Some(value) = site.egraph[class].data.uniform {
            return Some(Expr::Const(value));
        }
        let operand = args.iter().position(|&arg| arg == class).unwrap_or_else(|| {
            args.push(class);
            args.len() - 1
        });
        Some(Expr::read(Source::Operand(operand), index.clone()))
    })
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

/// The places at which a definition reads elements of `operand`.
fn places(definition: &Definition, operand: usize) -> usize {
    let mut places = 0usize;
    for stage in &definition.stages {
        let extents = [&stage.domain[..], &stage.reduction[..]].concat();
        for expr in [Some(&stage.body), stage.finish.as_ref()].into_iter().flatten() {
            expr.any(&mut |node| {
                if let Expr::Read { source: Source::Operand(k), index } = node
                    && *k == operand
                {
                    let moves = |axis: &usize| index.iter().any(|i| i.any(&mut |e| *e == Expr::Axis(*axis)));
                    let read = (0..extents.len()).filter(moves).map(|axis| extents[axis]).product::<usize>();
                    places = places.saturating_add(read);
                }
                false
            });
        }
    }
    places
}

fn reads(expr: &Expr, operand: usize) -> bool {
    expr.any(&mut |node| matches!(node, Expr::Read { source: Source::Operand(k), .. } if *k == operand))
}

fn depth(expr: &Expr) -> usize {
    1 + expr.children().into_iter().map(depth).max().unwrap_or(0)
}
