//! Small models, written as protobuf by hand: the tests carry no files and share no code with the reader.

/// A protobuf message being written.
#[derive(Clone, Default)]
struct Message(Vec<u8>);

impl Message {
    fn varint(&mut self, mut value: u64) {
        while value >= 0x80 {
            self.0.push(value as u8 | 0x80);
            value >>= 7;
        }
        self.0.push(value as u8);
    }

    fn int(mut self, field: u64, value: i64) -> Message {
        self.varint(field << 3);
        self.varint(value as u64);
        self
    }

    fn bytes(mut self, field: u64, bytes: &[u8]) -> Message {
        self.varint(field << 3 | 2);
        self.varint(bytes.len() as u64);
        self.0.extend_from_slice(bytes);
        self
    }

    fn text(self, field: u64, text: &str) -> Message {
        self.bytes(field, text.as_bytes())
    }

    fn message(self, field: u64, message: &Message) -> Message {
        self.bytes(field, &message.0)
    }
}

/// An extent of an input: a number or a name.
#[derive(Clone, Copy)]
pub enum Dim {
    Known(i64),
    Named(&'static str),
}

/// A float32 model, node by node.
#[derive(Clone, Default)]
pub struct Model {
    graph: Message,
}

const FLOAT: i64 = 1;

impl Model {
    pub fn new() -> Model {
        Model { graph: Message::default().text(2, "graph") }
    }

    fn value(name: &str, dims: &[Dim]) -> Message {
        let shape = dims.iter().fold(Message::default(), |shape, dim| match dim {
            Dim::Known(extent) => shape.message(1, &Message::default().int(1, *extent)),
            Dim::Named(name) => shape.message(1, &Message::default().text(2, name)),
        });
        let tensor = Message::default().int(1, FLOAT).message(2, &shape);
        Message::default().text(1, name).message(2, &Message::default().message(1, &tensor))
    }

    pub fn input(mut self, name: &str, dims: &[Dim]) -> Model {
        self.graph = self.graph.message(11, &Model::value(name, dims));
        self
    }

    pub fn output(mut self, name: &str, dims: &[Dim]) -> Model {
        self.graph = self.graph.message(12, &Model::value(name, dims));
        self
    }

    pub fn weights(mut self, name: &str, dims: &[i64], values: &[f32]) -> Model {
        let raw: Vec<u8> = values.iter().flat_map(|value| value.to_le_bytes()).collect();
        let tensor = dims.iter().fold(Message::default(), |tensor, &dim| tensor.int(1, dim));
        self.graph = self.graph.message(5, &tensor.int(2, FLOAT).text(8, name).bytes(9, &raw));
        self
    }

    pub fn node(mut self, op: &str, name: &str, inputs: &[&str], output: &str) -> Model {
        let node = inputs.iter().fold(Message::default(), |node, input| node.text(1, input));
        self.graph = self.graph.message(1, &node.text(2, output).text(3, name).text(4, op));
        self
    }

    /// The `.onnx` file's bytes: IR version 8, opset 17.
    pub fn bytes(&self) -> Vec<u8> {
        let opset = Message::default().text(1, "").int(2, 17);
        Message::default().int(1, 8).text(2, "hand").message(7, &self.graph).message(8, &opset).0
    }
}

/// `x[rows, depth]` times weights that are all a half: enough work for several threads if both are large.
pub fn product(rows: i64, depth: i64) -> Model {
    Model::new()
        .input("x", &[Dim::Known(rows), Dim::Known(depth)])
        .weights("w", &[depth, depth], &vec![0.5; (depth * depth) as usize])
        .node("MatMul", "product", &["x", "w"], "y")
        .output("y", &[Dim::Known(rows), Dim::Known(depth)])
}

/// `y = relu(x · w + b)` over `rows × 3`, to `rows × 2`.
pub fn dense(rows: Dim) -> Model {
    Model::new()
        .input("x", &[rows, Dim::Known(3)])
        .weights("w", &[3, 2], &[1.0, -1.0, 2.0, 0.5, -3.0, 4.0])
        .weights("b", &[2], &[0.25, -0.5])
        .node("MatMul", "product", &["x", "w"], "xw")
        .node("Add", "bias", &["xw", "b"], "sum")
        .node("Relu", "activation", &["sum"], "y")
        .output("y", &[rows, Dim::Known(2)])
}
