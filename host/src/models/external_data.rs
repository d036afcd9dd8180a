//! Finds weights that a model keeps in other files. ONNX Runtime would look for them in the
//! working directory, and the digest of the model's own file says nothing of what is in them.
//!
//! This walks the protobuf wire format, over the few messages that lead to a tensor. Tensors'
//! contents are skipped by their length.

/// The messages of ONNX that lead to a tensor.
#[derive(Clone, Copy)]
enum Message {
    Model,
    Graph,
    Node,
    Attribute,
    Function,
    Training,
    SparseTensor,
    Tensor,
}

impl Message {
    /// The message in a field, where it can lead to a tensor. Numbers are those of `onnx.proto`.
    fn child(self, field: u64) -> Option<Self> {
        Some(match (self, field) {
            (Self::Model, 7) | (Self::Attribute, 6 | 11) | (Self::Training, 1 | 2) => Self::Graph,
            (Self::Model, 20) => Self::Training,
            (Self::Model, 25) => Self::Function,
            (Self::Graph, 1) | (Self::Function, 7) => Self::Node,
            (Self::Node, 5) | (Self::Function, 11) => Self::Attribute,
            (Self::Graph, 5) | (Self::Attribute, 5 | 10) | (Self::SparseTensor, 1 | 2) => Self::Tensor,
            (Self::Graph, 15) | (Self::Attribute, 22 | 23) => Self::SparseTensor,
            _ => return None,
        })
    }
}

/// Fields of a tensor that say that its contents are elsewhere.
const EXTERNAL_DATA: u64 = 13;
const DATA_LOCATION: u64 = 14;
const EXTERNAL: u64 = 1;

/// Checks that a model is whole in its one file.
///
/// # Errors
/// That it is no protobuf message, or which file its weights are in and how to save it as one.
pub(super) fn check(onnx: &[u8]) -> Result<(), String> {
    if onnx.get(4..8) == Some(b"ORTM") {
        return Err("a model in ONNX Runtime's own format; valid: an ONNX model (.onnx)".to_owned());
    }
    // A list instead of recursion, of the messages that are open: a file may have any number of them
    // beside each other.
    let mut open = vec![(Message::Model, Fields(onnx))];
    while let Some((message, fields)) = open.last_mut() {
        let message = *message;
        match fields.read().map_err(|why| format!("not an ONNX model: {why}"))? {
            None => drop(open.pop()),
            Some((field, value)) => match (message, field, value) {
                (Message::Tensor, EXTERNAL_DATA, Value::Bytes(entry)) => return Err(external(location(entry))),
                (Message::Tensor, DATA_LOCATION, Value::Number(EXTERNAL)) => return Err(external(None)),
                (message, field, Value::Bytes(bytes)) => {
                    open.extend(message.child(field).map(|child| (child, Fields(bytes))));
                    if open.len() > MAX_DEPTH {
                        return Err(format!("not an ONNX model: it is nested deeper than {MAX_DEPTH} messages"));
                    }
                }
                (_, _, Value::Number(_)) => {}
            },
        }
    }
    Ok(())
}

/// Messages inside each other. Parsers of protobuf take 100.
const MAX_DEPTH: usize = 4096;

fn external(file: Option<String>) -> String {
    let file = file.map_or_else(|| "another file".to_owned(), |file| format!("another file ({file:?})"));
    format!(
        "its weights are in {file}, which the model's digest would not cover; save it as one file: \
         onnx.save(onnx.load(\"model.onnx\"), \"one-file.onnx\"), or torch.onnx.export(…, external_data=False)"
    )
}

/// The value of the entry `location`, cut to a length that fits a message.
fn location(entry: &[u8]) -> Option<String> {
    let (mut key, mut value) = (None, None);
    let mut fields = Fields(entry);
    while let Ok(Some((field, Value::Bytes(bytes)))) = fields.read() {
        match field {
            1 => key = Some(bytes),
            2 => value = Some(bytes),
            _ => {}
        }
    }
    (key == Some(b"location")).then(|| String::from_utf8_lossy(value.unwrap_or_default()).chars().take(80).collect())
}

enum Value<'a> {
    Number(u64),
    Bytes(&'a [u8]),
}

/// The fields of a message, in order.
struct Fields<'a>(&'a [u8]);

impl<'a> Fields<'a> {
    fn read(&mut self) -> Result<Option<(u64, Value<'a>)>, &'static str> {
        if self.0.is_empty() {
            return Ok(None);
        }
        let tag = self.varint()?;
        let value = match tag & 7 {
            0 => Value::Number(self.varint()?),
            1 => Value::Bytes(self.take(8)?),
            2 => {
                let length = self.varint()?;
                Value::Bytes(self.take(length)?)
            }
            5 => Value::Bytes(self.take(4)?),
            _ => return Err("a field of an unknown kind"),
        };
        // A fixed number has bytes, too, and is no message.
        let value = if matches!(tag & 7, 1 | 5) { Value::Number(0) } else { value };
        Ok(Some((tag >> 3, value)))
    }

    fn varint(&mut self) -> Result<u64, &'static str> {
        let mut number = 0;
        for shift in (0..64).step_by(7) {
            let byte = self.take(1)?[0];
            number |= u64::from(byte & 0x7f) << shift;
            if byte & 0x80 == 0 {
                return Ok(number);
            }
        }
        Err("a number with no end")
    }

    fn take(&mut self, length: u64) -> Result<&'a [u8], &'static str> {
        let length = usize::try_from(length).map_err(|_| "it is cut off")?;
        let (taken, rest) = self.0.split_at_checked(length).ok_or("it is cut off")?;
        self.0 = rest;
        Ok(taken)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// A field of bytes.
    fn field(number: u8, bytes: &[u8]) -> Vec<u8> {
        let mut length = bytes.len();
        let mut message = vec![number << 3 | 2];
        // The test's numbers are below 16, and its lengths below 2^14.
        while length >= 0x80 {
            message.push((length & 0x7f) as u8 | 0x80);
            length >>= 7;
        }
        message.push(length as u8);
        message.extend(bytes);
        message
    }

    fn entry(key: &str, value: &str) -> Vec<u8> {
        field(13, &[field(1, key.as_bytes()), field(2, value.as_bytes())].concat())
    }

    #[test]
    fn weights_elsewhere_are_found_in_initializers_and_in_nested_graphs() {
        let tensor = [vec![1 << 3, 4], field(8, b"w"), entry("location", "weights.bin")].concat();
        let initializer = field(7, &field(5, &tensor));
        let why = check(&initializer).expect_err("refused");
        assert!(why.contains("weights.bin") && why.contains("onnx.save("), "{why}");
        // The body of a loop: a node's attribute's graph.
        let nested = (0..1_000).fold(field(5, &tensor), |graph, _| field(1, &field(5, &field(6, &graph))));
        assert!(check(&field(7, &nested)).expect_err("refused").contains("weights.bin"), "as deep as it may be");
        let deeper = (0..2_000).fold(Vec::new(), |graph, _| field(1, &field(5, &field(6, &graph))));
        let why = check(&field(7, &deeper)).expect_err("refused");
        assert!(why.contains("nested deeper than 4096 messages"), "{why}");
        // The location alone, without a file's name.
        assert!(check(&field(7, &field(5, &[14 << 3, 1]))).is_err());
    }

    #[test]
    fn a_whole_model_and_likenesses_of_external_data_pass() {
        let tensor = [field(8, b"location"), field(9, &entry("location", "weights.bin")), vec![14 << 3, 0]].concat();
        assert_eq!(check(&field(7, &field(5, &tensor))), Ok(()));
        assert_eq!(check(&field(8, &entry("location", "x"))), Ok(()), "metadata of the model is no tensor");
        assert_eq!(check(b""), Ok(()));
    }

    #[test]
    fn what_is_no_message_is_refused() {
        for bytes in [&b"PK\x03\x04"[..], &[0x3a, 0x7f], &[0xff; 12], &[7 << 3 | 3]] {
            assert!(check(bytes).expect_err("refused").starts_with("not an ONNX model"), "{bytes:?}");
        }
        assert!(check(b"\0\0\0\0ORTM").expect_err("refused").contains("own format"));
    }
}
