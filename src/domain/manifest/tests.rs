use super::json::MAX_DEPTH;
use super::{
    DOCKER_IMAGE, DOCKER_LIST, DOCKER_SCHEMA_1, Error, Kind, MAX_BYTES, MAX_LAYERS, Manifest, OCI_IMAGE, OCI_INDEX,
    RawManifest,
};
use crate::error::{Error as Envelope, Reason};
use crate::names::{Algorithm, Digest, MediaType};
use bytes::Bytes;
use proptest::prelude::*;

const CONFIG: &str = "application/vnd.oci.image.config.v1+json";
const LAYER: &str = "application/vnd.oci.image.layer.v1.tar+gzip";

fn media(text: &str) -> MediaType {
    MediaType::parse(text).unwrap()
}

fn read(media_type: &str, text: impl Into<String>) -> Result<Manifest, Error> {
    let raw = RawManifest::new(Bytes::from(text.into()), Some(media(media_type)), None)?;
    Manifest::parse(&raw)
}

fn descriptor(media_type: &str) -> String {
    format!(r#"{{"mediaType":"{media_type}","digest":"{}","size":7}}"#, Digest::of(b""))
}

/// An image with more members, each beginning with a comma.
fn image(more: &str) -> String {
    format!(r#"{{"schemaVersion":2,"config":{},"layers":[{}]{more}}}"#, descriptor(CONFIG), descriptor(LAYER))
}

fn index(more: &str) -> String {
    format!(r#"{{"schemaVersion":2,"manifests":[{}]{more}}}"#, descriptor(OCI_IMAGE))
}

#[test]
fn all_four_kinds_and_strangers_of_their_shapes_are_read() {
    for media_type in [OCI_IMAGE, DOCKER_IMAGE, "application/vnd.example+json"] {
        for text in [image(""), image(&format!(r#","mediaType":"{media_type}""#))] {
            let read = read(media_type, text).unwrap();
            assert_eq!((read.kind, read.layers.len(), read.children.len()), (Kind::Image, 1, 0), "{media_type}");
            assert_eq!(read.config.unwrap().size, 7);
        }
    }
    for media_type in [OCI_INDEX, DOCKER_LIST, "application/vnd.example+json"] {
        let read = read(media_type, index("")).unwrap();
        assert_eq!((read.kind, read.layers.len(), read.children.len()), (Kind::Index, 0, 1), "{media_type}");
        assert_eq!(read.children[0].media_type.as_str(), OCI_IMAGE);
    }
    let bare = format!(r#"{{"layers":[{}]}}"#, descriptor(LAYER));
    assert_eq!(read("application/vnd.example+json", bare).unwrap().config, None);
}

#[test]
fn empty_lists_and_nulls_are_no_elements() {
    for list in ["[]", "null", "[ ]"] {
        let text = format!(r#"{{"schemaVersion":2,"manifests":{list},"subject":null,"annotations":null}}"#);
        let read = read(OCI_INDEX, text).unwrap();
        assert!(read.children.is_empty() && read.subject.is_none() && read.annotations.is_none());
    }
    let text = format!(r#"{{"schemaVersion":2,"config":{},"layers":null}}"#, descriptor(CONFIG));
    assert!(read(OCI_IMAGE, text).unwrap().layers.is_empty());
}

#[test]
fn an_artifact_has_its_own_type_or_that_of_its_config() {
    let cases = [
        (OCI_IMAGE, image(r#","artifactType":"text/own""#), Some("text/own")),
        (OCI_IMAGE, image(r#","artifactType":"""#), Some(CONFIG)),
        (OCI_IMAGE, image(""), Some(CONFIG)),
        (OCI_INDEX, index(r#","artifactType":"text/own""#), Some("text/own")),
        (OCI_INDEX, index(""), None),
    ];
    for (media_type, text, expected) in cases {
        let read = read(media_type, text.clone()).unwrap();
        assert_eq!(read.artifact_type.as_ref().map(MediaType::as_str), expected, "{text}");
    }
}

#[test]
fn subject_and_annotations_are_kept_as_written() {
    let annotations = r#"{"b": "1", "a":"\u00e9"}"#;
    let more =
        format!(r#","subject":{},"annotations":{annotations},"x":{{"layers":1,"layers":2}}"#, descriptor(OCI_IMAGE));
    for read in [read(OCI_IMAGE, image(&more)).unwrap(), read(OCI_INDEX, index(&more)).unwrap()] {
        assert_eq!(read.subject.unwrap().digest, Digest::of(b""));
        assert_eq!(read.annotations.unwrap().get(), annotations);
    }
}

#[test]
fn foreign_layers_are_not_distributable() {
    for (media_type, expected) in [
        (LAYER, true),
        ("application/vnd.docker.image.rootfs.diff.tar.gzip", true),
        ("application/vnd.oci.image.layer.nondistributable.v1.tar", false),
        ("application/vnd.oci.image.layer.nondistributable.v1.tar+zstd", false),
        ("application/vnd.docker.image.rootfs.foreign.diff.tar.gzip", false),
    ] {
        let text =
            format!(r#"{{"schemaVersion":2,"config":{},"layers":[{}]}}"#, descriptor(CONFIG), descriptor(media_type));
        assert_eq!(read(OCI_IMAGE, text).unwrap().layers[0].distributable(), expected, "{media_type}");
    }
}

#[test]
fn what_is_no_manifest_is_refused_with_the_field_at_fault() {
    let layer = descriptor(LAYER);
    let with_layer = |from: &str, to: &str| image("").replace(&layer, &layer.replace(from, to));
    let cases = [
        (OCI_IMAGE, String::new(), "manifest"),
        (OCI_IMAGE, "not json".to_owned(), "manifest"),
        (OCI_IMAGE, image("") + "{}", "manifest"),
        (OCI_IMAGE, format!("\u{feff}{}", image("")), "manifest"),
        (OCI_IMAGE, "[]".to_owned(), "the manifest"),
        (OCI_IMAGE, "{}".to_owned(), "schemaVersion"),
        (OCI_IMAGE, image("").replace(":2,", ":3,"), "schemaVersion"),
        (OCI_IMAGE, image("").replace(":2,", ":\"2\","), "schemaVersion"),
        (OCI_IMAGE, r#"{"schemaVersion":2}"#.to_owned(), "manifests"),
        (OCI_IMAGE, r#"{"schemaVersion":2,"layers":[]}"#.to_owned(), "config"),
        (OCI_IMAGE, index(""), "mediaType"),
        (OCI_INDEX, image(""), "mediaType"),
        (OCI_IMAGE, image(&format!(r#","mediaType":"{OCI_INDEX}""#)), "mediaType"),
        (OCI_IMAGE, image(&format!(r#","mediaType":"{DOCKER_IMAGE}""#)), "mediaType"),
        (OCI_IMAGE, image(r#","mediaType":7"#), "mediaType"),
        (OCI_IMAGE, image(r#","artifactType":"x""#), "artifactType"),
        (OCI_IMAGE, image(r#","annotations":{"a":1}"#), "annotations"),
        (OCI_IMAGE, image(r#","annotations":[]"#), "annotations"),
        (OCI_IMAGE, image(r#","subject":{}"#), "subject.mediaType"),
        (OCI_IMAGE, image(r#","subject":"x""#), "subject"),
        (OCI_IMAGE, image(r#","x":1,"x":2"#), "x"),
        (OCI_IMAGE, image(r#","layers":[]"#), "layers"),
        (OCI_IMAGE, image(r#","Layers":[]"#), "Layers"),
        (OCI_IMAGE, image(",\"layer\u{17f}\":[]"), "layer\u{17f}"),
        (OCI_IMAGE, image(r#","\u004canifests":1,"MANIFESTS":[]"#), "MANIFESTS"),
        (OCI_IMAGE, image("").replace("[{", "[7,{"), "layers[0]"),
        (OCI_IMAGE, with_layer("\"size\":7", "\"size\":-1"), "layers[0].size"),
        (OCI_IMAGE, with_layer("\"size\":7", "\"size\":7.5"), "layers[0].size"),
        (OCI_IMAGE, with_layer("\"size\":7", "\"size\":9223372036854775808"), "layers[0].size"),
        (OCI_IMAGE, with_layer("\"size\":7", "\"x\":7"), "layers[0].size"),
        (OCI_IMAGE, with_layer("\"size\":7", "\"size\":7,\"Digest\":\"x\""), "layers[0].Digest"),
        (OCI_IMAGE, with_layer("\"size\":7", "\"size\":7,\"digest\":\"x\""), "layers[0].digest"),
        (OCI_IMAGE, with_layer("sha256:", "sha256:0"), "layers[0].digest"),
        (OCI_IMAGE, with_layer("sha256:", "md5:"), "layers[0].digest"),
        (OCI_IMAGE, with_layer(LAYER, "nonsense"), "layers[0].mediaType"),
        (OCI_IMAGE, image(&format!(",\"manifests\":[{}]", descriptor(OCI_IMAGE))), "manifests"),
        (OCI_INDEX, index(r#","layers":null"#), "manifests"),
        (OCI_INDEX, index(&format!(",\"config\":{}", descriptor(CONFIG))), "manifests"),
        ("application/vnd.oci.artifact.manifest.v1+json", r#"{"blobs":[]}"#.to_owned(), "manifests"),
        (DOCKER_SCHEMA_1[0], image(""), "schemaVersion"),
        (DOCKER_SCHEMA_1[1], image(""), "schemaVersion"),
        ("application/json", r#"{"schemaVersion":1,"fsLayers":[]}"#.to_owned(), "schemaVersion"),
        (OCI_IMAGE, image(r#","fsLayers":[]"#), "schemaVersion"),
    ];
    for (media_type, text, field) in cases {
        let error = Envelope::from(read(media_type, text.clone()).expect_err(&text));
        assert_eq!(error.reason, Reason::ManifestInvalid, "{text}: {error}");
        assert_eq!(error.metadata.get("field").map(String::as_str), Some(field), "{text}: {error}");
    }
    let raw = RawManifest {
        bytes: Bytes::from_static(b"{\"a\":\"\xff\"}"),
        digest: Digest::of(b""),
        media_type: media(OCI_IMAGE),
    };
    assert_eq!(Manifest::parse(&raw).unwrap_err(), Error::NotText);
}

#[test]
fn size_depth_and_counts_are_bounded() {
    let layers = |count: usize| {
        format!(
            r#"{{"schemaVersion":2,"config":{},"layers":[{}]}}"#,
            descriptor(CONFIG),
            vec![descriptor(LAYER); count].join(",")
        )
    };
    assert_eq!(read(OCI_IMAGE, layers(MAX_LAYERS)).unwrap().layers.len(), MAX_LAYERS);
    let children = index("").replace(&descriptor(OCI_IMAGE), &vec![descriptor(OCI_IMAGE); 1_001].join(","));
    let members: String = (0..1_000).map(|at| format!(",\"m{at}\":0")).collect();
    let numbers = image("").replace("[{", &format!("[{}{{", "0,".repeat(5_000)));
    let padding = image(&format!(",\"x\":\"{}\"", "a".repeat(MAX_BYTES)));
    let cases = [
        (OCI_IMAGE, layers(1_001)),
        (OCI_INDEX, children),
        (OCI_IMAGE, image(&members)),
        (OCI_IMAGE, numbers),
        (OCI_IMAGE, padding),
    ];
    for (media_type, text) in cases {
        let error = Envelope::from(read(media_type, text).unwrap_err());
        assert_eq!(error.reason, Reason::TooLarge, "{error}");
    }
    // The document itself is one level.
    let nested = |depth: usize| image(&format!(",\"x\":{}\"]\"{}", "[".repeat(depth), "]".repeat(depth)));
    assert!(read(OCI_IMAGE, nested(MAX_DEPTH - 1)).is_ok());
    assert_eq!(read(OCI_IMAGE, nested(MAX_DEPTH)).unwrap_err(), Error::TooDeep);
    assert_eq!(read(OCI_IMAGE, "[".repeat(1 << 20)).unwrap_err(), Error::TooDeep);
    assert!(read(OCI_IMAGE, image(&format!(",\"x\":\"\\\"{}\"", "[".repeat(100)))).is_ok());
}

#[test]
fn bytes_get_the_digest_they_have_and_no_other() {
    let bytes = || Bytes::from(image(""));
    let take = |claimed| RawManifest::new(bytes(), Some(media(OCI_IMAGE)), claimed);
    assert_eq!(take(None).unwrap().digest, Digest::of(&bytes()));
    for algorithm in [Algorithm::Sha256, Algorithm::Sha512] {
        let digest = Digest::hash(algorithm, &bytes());
        let taken = take(Some(digest)).unwrap();
        assert_eq!((taken.digest, taken.bytes), (digest, bytes()));
        let other = Digest::hash(algorithm, b"other");
        let error = Envelope::from(take(Some(other)).unwrap_err());
        assert_eq!(error.reason, Reason::DigestMismatch);
    }
}

#[test]
fn the_media_type_is_the_requests_or_else_the_documents() {
    let own = image(&format!(r#","mediaType":"{DOCKER_IMAGE}""#));
    let take = |text: &str, declared| RawManifest::new(Bytes::from(text.to_owned()), declared, None);
    assert_eq!(take(&own, None).unwrap().media_type.as_str(), DOCKER_IMAGE);
    assert_eq!(take(&image(""), Some(media(OCI_IMAGE))).unwrap().media_type.as_str(), OCI_IMAGE);
    let error = take(&image(""), None).unwrap_err();
    assert!(error.to_string().starts_with("mediaType is missing"), "{error}");
}

proptest! {
    #[test]
    fn any_bytes_are_read_without_panic(bytes in prop::collection::vec(any::<u8>(), 0..200)) {
        let _ = RawManifest::new(Bytes::from(bytes.clone()), None, None);
        let raw = RawManifest { bytes: bytes.into(), digest: Digest::of(b""), media_type: media(OCI_IMAGE) };
        let _ = Manifest::parse(&raw);
    }

    #[test]
    fn a_manifest_with_any_bytes_replaced_is_read_without_panic(
        at in 0..400_usize, cut in 0..20_usize, piece in "[\\[\\]{}\",:0-9a-z\\\\]{0,8}",
    ) {
        let mut text = image(&format!(r#","subject":{},"annotations":{{"a":"b"}}"#, descriptor(OCI_IMAGE)));
        let at = at.min(text.len());
        text.replace_range(at..(at + cut).min(text.len()), &piece);
        let _ = read(OCI_IMAGE, text);
    }
}
