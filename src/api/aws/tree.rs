//! The answer of a query operation, as XML and for who asks so as JSON.

use crate::names::Uid;
use quick_xml::escape::escape;
use serde_json::{Map, Value, json};

/// The namespace of AWS STS.
pub(super) const NAMESPACE: &str = "https://sts.amazonaws.com/doc/2011-06-15/";

/// A field of an answer, in the order in which it is written.
pub(super) enum Tree {
    Text(&'static str, String),
    Fields(&'static str, Vec<Tree>),
}

/// `<ActionResponse><ActionResult>…`, as AWS writes it.
pub(super) fn xml(action: &str, result: &[Tree], request: Uid) -> String {
    let mut text = format!("<{action}Response xmlns=\"{NAMESPACE}\">\n  <{action}Result>\n");
    for field in result {
        write(&mut text, field, 4);
    }
    text + &format!(
        "  </{action}Result>\n  <ResponseMetadata>\n    <RequestId>{request}</RequestId>\n  </ResponseMetadata>\n</{action}Response>\n"
    )
}

fn write(text: &mut String, field: &Tree, depth: usize) {
    let space = " ".repeat(depth);
    match field {
        Tree::Text(name, value) => {
            text.push_str(&format!("{space}<{name}>{}</{name}>\n", escape(value.as_str())));
        }
        Tree::Fields(name, fields) => {
            text.push_str(&format!("{space}<{name}>\n"));
            for field in fields {
                write(text, field, depth + 2);
            }
            text.push_str(&format!("{space}</{name}>\n"));
        }
    }
}

/// The same in the form that clients get who accept JSON: those of Kubernetes do.
pub(super) fn json(action: &str, result: &[Tree], request: Uid) -> String {
    json!({ format!("{action}Response"): {
        format!("{action}Result"): object(result),
        "ResponseMetadata": { "RequestId": request.to_string() },
    }})
    .to_string()
}

fn object(fields: &[Tree]) -> Value {
    let entry = |field: &Tree| match field {
        Tree::Text(name, value) => ((*name).to_owned(), Value::from(value.as_str())),
        Tree::Fields(name, fields) => ((*name).to_owned(), object(fields)),
    };
    Value::Object(fields.iter().map(entry).collect::<Map<_, _>>())
}

#[cfg(test)]
mod tests {
    use super::{Tree, json, xml};
    use crate::names::Uid;

    #[test]
    fn an_answer_is_one_tree_in_two_forms_and_text_cannot_break_out() {
        let tree = [
            Tree::Text("Arn", "a<b>&\"c\"".to_owned()),
            Tree::Fields("Credentials", vec![Tree::Text("SessionToken", "t".to_owned())]),
        ];
        let id = Uid::from_bytes([7; 16]);
        let text = xml("AssumeRole", &tree, id);
        assert!(text.starts_with("<AssumeRoleResponse xmlns=\"https://sts.amazonaws.com/doc/2011-06-15/\">"));
        assert!(text.contains("<Arn>a&lt;b&gt;&amp;&quot;c&quot;</Arn>"), "{text}");
        assert!(
            text.contains("<SessionToken>t</SessionToken>") && text.contains(&format!("<RequestId>{id}</RequestId>"))
        );
        let document: serde_json::Value = serde_json::from_str(&json("AssumeRole", &tree, id)).unwrap();
        assert_eq!(document["AssumeRoleResponse"]["AssumeRoleResult"]["Credentials"]["SessionToken"], "t");
    }
}
