//! The answer to a referrers request: an image index made of the manifests that name a subject.
//!
//! SPEC: OCI distribution-spec 1.1, "Listing Referrers". A subject that nobody knows has an empty index, not a 404.
//! Which referrers the caller may see is decided before they come here.

use crate::api::body::{self, Body};
use crate::names::{Digest, MediaType};
use http::header::CONTENT_TYPE;
use http::{HeaderName, HeaderValue, Response};
use serde::Serialize;
use serde_json::value::RawValue;

const INDEX: &str = "application/vnd.oci.image.index.v1+json";
const FILTERS_APPLIED: HeaderName = HeaderName::from_static("oci-filters-applied");

/// One manifest that names the subject.
#[derive(Clone, Debug)]
pub struct Entry {
    /// The manifest's media type.
    pub media_type: MediaType,
    /// The manifest's digest.
    pub digest: Digest,
    /// The manifest's size in bytes.
    pub size: u64,
    /// What the manifest says it is.
    pub artifact_type: Option<MediaType>,
    /// The manifest's annotations as its author wrote them.
    pub annotations: Option<Box<RawValue>>,
}

/// Answers with the entries; `filtered` says that they are those of the artifact type that was asked for.
#[must_use]
pub fn render(entries: &[Entry], filtered: bool) -> Response<Body> {
    let mut response = Response::new(body::full(index(entries.iter())));
    response.headers_mut().insert(CONTENT_TYPE, HeaderValue::from_static(INDEX));
    if filtered {
        response.headers_mut().insert(FILTERS_APPLIED, HeaderValue::from_static("artifactType"));
    }
    response
}

/// The image index with these entries.
#[must_use]
pub fn index<'a>(entries: impl Iterator<Item = &'a Entry>) -> String {
    let manifests = entries.map(Descriptor::from).collect();
    let index = Index { schema_version: 2, media_type: INDEX, manifests };
    serde_json::to_string(&index).expect("text, numbers and JSON already read are always JSON")
}

#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
struct Index<'a> {
    schema_version: u8,
    media_type: &'static str,
    manifests: Vec<Descriptor<'a>>,
}

#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
struct Descriptor<'a> {
    media_type: &'a MediaType,
    digest: String,
    size: u64,
    #[serde(skip_serializing_if = "Option::is_none")]
    artifact_type: Option<&'a MediaType>,
    #[serde(skip_serializing_if = "Option::is_none")]
    annotations: Option<&'a RawValue>,
}

impl<'a> From<&'a Entry> for Descriptor<'a> {
    fn from(entry: &'a Entry) -> Self {
        Self {
            media_type: &entry.media_type,
            digest: entry.digest.to_string(),
            size: entry.size,
            artifact_type: entry.artifact_type.as_ref(),
            annotations: entry.annotations.as_deref(),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::{Entry, render};
    use crate::names::{Digest, MediaType};
    use http_body_util::BodyExt;
    use serde_json::value::RawValue;

    fn entry(artifact_type: Option<&str>, annotations: Option<&str>) -> Entry {
        Entry {
            media_type: MediaType::parse("application/vnd.oci.image.manifest.v1+json").unwrap(),
            digest: Digest::of(b""),
            size: 7,
            artifact_type: artifact_type.map(|text| MediaType::parse(text).unwrap()),
            annotations: annotations.map(|text| RawValue::from_string(text.to_owned()).unwrap()),
        }
    }

    async fn get(entries: &[Entry], filtered: bool) -> (Option<String>, String) {
        let response = render(entries, filtered);
        assert_eq!(response.headers()["content-type"], "application/vnd.oci.image.index.v1+json");
        let applied = response.headers().get("oci-filters-applied").map(|v| v.to_str().unwrap().to_owned());
        (applied, String::from_utf8(response.into_body().collect().await.unwrap().to_bytes().to_vec()).unwrap())
    }

    const EMPTY: &str = r#"{"schemaVersion":2,"mediaType":"application/vnd.oci.image.index.v1+json","manifests":[]}"#;

    #[tokio::test]
    async fn nobodys_referrers_are_an_empty_index() {
        assert_eq!(get(&[], false).await, (None, EMPTY.to_owned()));
    }

    #[tokio::test]
    async fn entries_keep_their_annotations_as_written() {
        let entries = [entry(Some("text/a"), Some(r#"{"b": "1", "a":"\u00e9"}"#)), entry(None, None)];
        let (applied, text) = get(&entries, false).await;
        assert_eq!(applied, None);
        let digest = Digest::of(b"");
        let base =
            format!(r#"{{"mediaType":"application/vnd.oci.image.manifest.v1+json","digest":"{digest}","size":7"#);
        let first = format!(r#"{base},"artifactType":"text/a","annotations":{{"b": "1", "a":"\u00e9"}}}}"#);
        assert_eq!(text, EMPTY.replace("[]", &format!("[{first},{base}}}]")));
    }

    #[tokio::test]
    async fn a_filter_that_was_applied_is_said_to_be() {
        let (applied, text) = get(&[entry(Some("text/a"), None)], true).await;
        assert_eq!((applied.as_deref(), text.matches("sha256:").count()), (Some("artifactType"), 1));
        assert_eq!(get(&[], true).await, (Some("artifactType".to_owned()), EMPTY.to_owned()));
    }
}
