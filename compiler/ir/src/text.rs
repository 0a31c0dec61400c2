//! The textual form of a graph. Whatever prints, parses back to the same graph.
//!
//! ```text
//! graph @net(%0 "input": f32[1,3,8,8]) {
//!   %1 "w" = constant f32[2,3,1,1] [1.0, 2.0, 3.0, 4.0, 5.0, 6.0]
//!   %2 "conv1" = conv {"group":1} %0, %1 : f32[1,2,8,8]
//!   %3, %4 = split {"axis":1,"sizes":[1,1]} %2 : f32[1,1,8,8], f32[1,1,8,8]
//!   return %3 "out"
//! }
//! ```
//!
//! Names are JSON strings, left out where they are empty; attributes are the operator's JSON without those at their
//! default; types are printed on every line although they are derivable. Constants of more than [`LISTED`] elements
//! are the base64 of their bytes. A line may end in a `//` comment. Values may be called anything when read; printing
//! numbers them.

mod parse;
mod print;

pub use parse::{ParseError, parse};
pub use print::{print, print_elided};

/// Constants of at most so many elements are printed as a list of values.
const LISTED: usize = 16;

#[cfg(test)]
mod tests {
    use proptest::prelude::*;
    use serde_json::{Map, Value as Json, json};

    use super::*;
    use crate::{DType, Graph, OpError, Operator, Scalar, Tensor, TensorType, Value};

    /// Two operators are enough here: `same` has an attribute and any number of operands, `twice` two results.
    #[derive(Debug, Clone, PartialEq)]
    enum Toy {
        Same { label: String },
        Twice,
    }

    impl Operator for Toy {
        fn name(&self) -> &'static str {
            match self {
                Toy::Same { .. } => "same",
                Toy::Twice => "twice",
            }
        }

        fn attributes(&self) -> Map<String, Json> {
            match self {
                Toy::Same { label } if !label.is_empty() => {
                    Map::from_iter([("label".to_owned(), json!(label))])
                }
                _ => Map::new(),
            }
        }

        fn parse(name: &str, attributes: Map<String, Json>) -> Result<Toy, OpError> {
            let label = attributes.get("label").and_then(Json::as_str).unwrap_or_default().to_owned();
            match name {
                "same" => Ok(Toy::Same { label }),
                "twice" => Ok(Toy::Twice),
                _ => Err(OpError::new(format!("no operator is called `{name}`"))),
            }
        }

        fn infer(&self, inputs: &[TensorType]) -> Result<Vec<TensorType>, OpError> {
            let first = inputs.first().ok_or_else(|| OpError::new("takes at least one input"))?;
            match self {
                Toy::Same { .. } => Ok(vec![first.clone()]),
                Toy::Twice => Ok(vec![first.clone(), first.clone()]),
            }
        }
    }

    fn read(text: &str) -> Result<Graph<Toy>, ParseError> {
        parse(text)
    }

    #[test]
    fn a_graph_prints_as_it_was_written() {
        let text = r#"graph @net(%0 "the \"input\"": f32[1,2], %1: i64[]) {
  %2 "w" = constant f32[2] [1.0, -0.5]
  %3 "conv1" = same {"label":"// }"} %0, %2 : f32[1,2]
  %4, %5 = twice %3 : f32[1,2], f32[1,2]
  return %4 "out", %5
}
"#;
        assert_eq!(print(&read(text).unwrap()), text);
    }

    #[test]
    fn errors_name_their_place() {
        let place = |text: &str| read(text).unwrap_err().to_string();
        assert_eq!(place("graph @g() {\n  %0 = nothing\n}"), "2:8: no operator is called `nothing`");
        assert_eq!(place("graph @g(%x: f32[2]) {\n  return %y\n}"), "2:10: %y is not defined");
        assert_eq!(
            place("graph @g(%x: f32[2]) {\n  %y = same %x : f32[3]\n  return %y\n}"),
            "2:18: the result is f32[2], not f32[3]"
        );
        assert_eq!(place("graph @g(%x: f32[2"), "1:19: expected `]`");
        assert_eq!(place("graph @g(%x: q4[2])"), "1:14: no element type is called `q4`");
        assert_eq!(
            place("graph @g() {\n  %c = constant f32[2] [1.0]\n}"),
            "2:24: 1 elements for a constant of type f32[2]"
        );
        assert_eq!(
            place("graph @g(%x: f32[4294967296,4294967296,4294967296])"),
            "1:14: the type has too many elements"
        );
    }

    #[test]
    fn elided_constants_show_their_beginning() {
        let mut graph: Graph<Toy> = Graph::new("g");
        let w = graph.constant("w", Tensor::from_slice([20], &[0.5f32; 20]));
        graph.output("w", w);
        assert!(
            print_elided(&graph).contains("constant f32[20] [0.5, 0.5, 0.5, 0.5, ...]"),
            "{}",
            print_elided(&graph)
        );
    }

    fn any_name() -> impl Strategy<Value = String> {
        prop_oneof![Just(String::new()), "[a-z]{1,4}", "\\PC{0,6}", Just("a\"\\\n/".to_owned())]
    }

    fn any_tensor() -> impl Strategy<Value = Tensor> {
        let dtype = proptest::sample::select(DType::ALL.to_vec());
        (dtype, proptest::collection::vec(0usize..4, 0..4)).prop_flat_map(|(dtype, shape)| {
            let elements = shape.iter().product::<usize>();
            proptest::collection::vec(any::<u64>(), elements).prop_map(move |bits| {
                let mask = |b: u64| if dtype == DType::Bool { b & 1 } else { b };
                let scalars = bits.into_iter().map(|b| Scalar { dtype, bits: mask(b) });
                Tensor::new(
                    TensorType::new(dtype, shape.clone()),
                    scalars.flat_map(Scalar::to_le_bytes).collect(),
                )
            })
        })
    }

    #[derive(Debug, Clone)]
    enum Step {
        Input(TensorType),
        Constant(Tensor),
        Apply(String, Vec<prop::sample::Index>),
        Output(prop::sample::Index),
    }

    fn any_graph() -> impl Strategy<Value = Graph<Toy>> {
        let step = prop_oneof![
            any_tensor().prop_map(|tensor| Step::Input(tensor.ty)),
            any_tensor().prop_map(Step::Constant),
            (any_name(), proptest::collection::vec(any::<prop::sample::Index>(), 1..4))
                .prop_map(|(label, operands)| Step::Apply(label, operands)),
            any::<prop::sample::Index>().prop_map(Step::Output),
        ];
        (any_name(), proptest::collection::vec((any_name(), step), 0..12)).prop_map(|(name, steps)| {
            let mut graph = Graph::new(name);
            let mut values: Vec<Value> = Vec::new();
            for (name, step) in steps {
                match step {
                    Step::Input(ty) => values.push(graph.input(name, ty)),
                    Step::Constant(tensor) => values.push(graph.constant(name, tensor)),
                    Step::Apply(label, operands) if !values.is_empty() => {
                        let operands: Vec<Value> = operands.iter().map(|index| *index.get(&values)).collect();
                        let op = if operands.len() == 3 { Toy::Twice } else { Toy::Same { label } };
                        values.extend(graph.apply(name, op, &operands).unwrap());
                    }
                    Step::Output(index) if !values.is_empty() => graph.output(name, *index.get(&values)),
                    _ => (),
                }
            }
            graph
        })
    }

    proptest! {
        #[test]
        fn whatever_prints_parses(graph in any_graph()) {
            let text = print(&graph);
            let again = read(&text).map_err(|err| TestCaseError::fail(format!("{err}\n{text}")))?;
            prop_assert_eq!(print(&again), text);
            prop_assert_eq!(again.node_count(), graph.node_count());
            prop_assert_eq!(crate::verify(&again), Ok(()));
        }

        #[test]
        fn parsing_never_panics(text in "\\PC*") {
            let _ = read(&text);
        }

        #[test]
        fn parsing_damaged_text_never_panics(graph in any_graph(), at in any::<prop::sample::Index>(), with in "\\PC{0,2}") {
            let mut text: Vec<char> = print(&graph).chars().collect();
            let at = at.index(text.len());
            text.splice(at..at + 1, with.chars());
            let _ = read(&text.into_iter().collect::<String>());
        }
    }
}
