//! What is pushed: blobs, manifests and tags of each kind that the specification knows.

use serde_json::{Map, Value, json};
use transship::names::{Algorithm, Digest};

pub const IMAGE: &str = "application/vnd.oci.image.manifest.v1+json";
pub const INDEX: &str = "application/vnd.oci.image.index.v1+json";
const CONFIG: &str = "application/vnd.oci.image.config.v1+json";
const LAYER: &str = "application/vnd.oci.image.layer.v1.tar+gzip";
const EMPTY: &str = "application/vnd.oci.empty.v1+json";
const EXAMPLE: &str = "application/vnd.example.one+json";
const OTHER: &str = "application/vnd.example.two+json";

/// A manifest with what a list of referrers must say of it.
#[derive(Clone)]
pub struct Manifest {
    pub digest: Digest,
    pub media_type: &'static str,
    pub bytes: Vec<u8>,
    pub subject: Option<Digest>,
    pub artifact_type: Option<String>,
    pub annotations: Map<String, Value>,
}

/// Things that are pushed, read and removed together.
pub struct Set {
    pub name: &'static str,
    pub named: Algorithm,
    pub blobs: Vec<(Digest, Vec<u8>)>,
    /// Blobs that manifests name and nobody pushes.
    pub absent: Vec<Digest>,
    pub manifests: Vec<Manifest>,
    pub tags: Vec<(String, Digest)>,
    /// Tags are given with the manifest's digest.
    pub tag_params: bool,
}

impl Set {
    fn new(name: &'static str) -> Self {
        Self {
            name,
            named: Algorithm::Sha256,
            blobs: Vec::new(),
            absent: Vec::new(),
            manifests: Vec::new(),
            tags: Vec::new(),
            tag_params: false,
        }
    }

    fn under(mut self, named: Algorithm) -> Self {
        self.named = named;
        self
    }

    fn blob(&mut self, media_type: &str, bytes: Vec<u8>) -> Value {
        let digest = Digest::hash(self.named, &bytes);
        let size = bytes.len();
        if !self.blobs.iter().any(|(known, _)| *known == digest) {
            self.blobs.push((digest, bytes));
        }
        json!({"mediaType": media_type, "digest": digest, "size": size})
    }

    fn layers(&mut self, count: usize) -> Vec<Value> {
        let from = self.blobs.len();
        (0..count).map(|at| self.blob(LAYER, format!("{} layer {}", self.name, from + at).into_bytes())).collect()
    }

    fn image(&mut self, layers: usize) -> Value {
        let config =
            format!("{{\"architecture\":\"amd64\",\"os\":\"linux\",\"set\":\"{} {}\"}}", self.name, self.blobs.len());
        let config = self.blob(CONFIG, config.into_bytes());
        json!({"schemaVersion": 2, "mediaType": IMAGE, "config": config, "layers": self.layers(layers)})
    }

    fn artifact(&mut self, artifact_type: &str, layers: Option<usize>) -> Value {
        let config = self.blob(EMPTY, b"{}".to_vec());
        let layers = match layers {
            Some(count) => self.layers(count),
            None => vec![config.clone()],
        };
        json!({"schemaVersion": 2, "mediaType": IMAGE, "artifactType": artifact_type, "config": config, "layers": layers})
    }

    /// Adds a manifest; answers its descriptor.
    fn manifest(&mut self, value: &Value) -> Value {
        let media_type = if value["mediaType"] == INDEX { INDEX } else { IMAGE };
        let bytes = value.to_string().into_bytes();
        let digest = Digest::hash(self.named, &bytes);
        let own = value["artifactType"].as_str().map(str::to_owned);
        let size = bytes.len();
        self.manifests.push(Manifest {
            digest,
            media_type,
            subject: value["subject"]["digest"].as_str().map(|text| Digest::parse(text).unwrap()),
            artifact_type: own.or_else(|| value["config"]["mediaType"].as_str().map(str::to_owned)),
            annotations: value["annotations"].as_object().cloned().unwrap_or_default(),
            bytes,
        });
        json!({"mediaType": media_type, "digest": digest, "size": size})
    }

    fn index(&mut self, images: usize) -> Value {
        let manifests: Vec<Value> = (0..images)
            .map(|_| {
                let image = self.image(2);
                self.manifest(&image)
            })
            .collect();
        index_of(&manifests)
    }

    /// Tags the manifest that was added last.
    fn tagged(mut self, tag: &str) -> Self {
        let digest = self.manifests.last().unwrap().digest;
        self.tags.push((tag.to_owned(), digest));
        self
    }

    fn with(mut self, build: impl FnOnce(&mut Self) -> Value) -> Self {
        let value = build(&mut self);
        self.manifest(&value);
        self
    }
}

fn index_of(manifests: &[Value]) -> Value {
    json!({"schemaVersion": 2, "mediaType": INDEX, "manifests": manifests})
}

fn and(mut value: Value, member: &str, more: impl Into<Value>) -> Value {
    value[member] = more.into();
    value
}

/// The sets that every repository takes.
pub fn sets() -> Vec<Set> {
    let mut sets = images();
    sets.extend(indexes());
    sets.extend(artifacts());
    sets.extend(under_sha512());
    sets
}

fn images() -> Vec<Set> {
    let large: Map<String, Value> = (0..390).map(|at| (format!("large-{at}"), "A".repeat(10_000).into())).collect();
    vec![
        Set::new("image").with(|set| set.image(2)).tagged("image"),
        Set::new("image-uncompressed")
            .with(|set| {
                let mut image = set.image(0);
                image["layers"] = vec![set.blob("application/vnd.oci.image.layer.v1.tar", vec![0; 10_240])].into();
                image
            })
            .tagged("image-uncompressed"),
        Set::new("large-manifest").with(|set| and(set.image(2), "annotations", large)).tagged("large-manifest"),
        Set::new("data-field")
            .with(|set| {
                let mut artifact = set.artifact(EXAMPLE, None);
                artifact["config"]["data"] = "e30=".into();
                artifact
            })
            .tagged("data-field"),
        Set::new("no-layers").with(|set| set.image(0)).tagged("no-layers"),
        Set::new("non-distributable-layers")
            .with(|set| {
                let mut image = set.image(1);
                for kind in ["tar+gzip", "tar"] {
                    let digest = Digest::of(format!("elsewhere {kind}").as_bytes());
                    set.absent.push(digest);
                    image["layers"].as_array_mut().unwrap().push(json!({
                        "mediaType": format!("application/vnd.oci.image.layer.nondistributable.v1.{kind}"),
                        "digest": digest, "size": 123_456, "urls": ["https://store.example.com/layer"],
                    }));
                }
                image
            })
            .tagged("non-distributable"),
    ]
}

fn indexes() -> Vec<Set> {
    let custom =
        |value: Value| and(and(value, "org.example.unknown", "kept"), "zz", json!({"b": 1, "a": [null, 2.50]}));
    vec![
        Set::new("index").with(|set| set.index(2)).tagged("index"),
        Set::new("nested-index")
            .with(|set| {
                let inner: Vec<Value> = (0..2)
                    .map(|_| {
                        let index = set.index(2);
                        set.manifest(&index)
                    })
                    .collect();
                index_of(&inner)
            })
            .tagged("nested-index"),
        Set::new("empty-index").with(|_| index_of(&[])).tagged("empty-index"),
        Set::new("custom-fields")
            .with(|set| {
                let image = custom(set.image(2));
                custom(index_of(&[set.manifest(&image)]))
            })
            .tagged("custom-fields"),
    ]
}

fn artifacts() -> Vec<Set> {
    let note = |value: Value, text: &str| and(value, "annotations", json!({"org.example.note": text}));
    let missing = json!({"mediaType": IMAGE, "digest": Digest::of(b"nobody has it"), "size": 123});
    vec![
        Set::new("artifact").with(|set| set.artifact(EXAMPLE, Some(1))).tagged("artifact"),
        Set::new("artifact-index")
            .with(|set| {
                let inner = set.artifact(EXAMPLE, Some(1));
                and(index_of(&[set.manifest(&inner)]), "artifactType", EXAMPLE)
            })
            .tagged("artifact-index"),
        Set::new("artifact-without-layers").with(|set| set.artifact(EXAMPLE, None)).tagged("artifact-empty"),
        Set::new("artifacts-with-subject").with(|set| {
            let image = set.image(2);
            let subject = set.manifest(&image);
            let plain = and(set.image(1), "subject", subject.clone());
            set.manifest(&plain);
            for (at, kind) in [EXAMPLE, OTHER].into_iter().enumerate() {
                let artifact = note(set.artifact(kind, Some(1)), &format!("artifact {at}"));
                set.manifest(&and(artifact, "subject", subject.clone()));
                let digest = set.manifests.last().unwrap().digest;
                set.tags.push((format!("artifact-{at}"), digest));
            }
            note(and(set.artifact(EXAMPLE, None), "subject", subject), "the last")
        }),
        Set::new("index-with-subject").with(|set| {
            let index = set.index(2);
            let subject = set.manifest(&index);
            let plain = note(and(index_of(&[]), "subject", subject.clone()), "an index without a type");
            set.manifest(&plain);
            note(and(and(set.index(1), "artifactType", EXAMPLE), "subject", subject), "an index")
        }),
        Set::new("missing-subject")
            .with(|set| note(and(set.artifact(EXAMPLE, Some(1)), "subject", missing), "of nothing"))
            .tagged("missing-subject"),
    ]
}

fn under_sha512() -> Vec<Set> {
    let params = |name, named| {
        let mut set = Set::new(name).under(named).with(|set| set.index(2));
        set.tags =
            set.manifests.iter().enumerate().map(|(at, manifest)| (format!("{name}-{at}"), manifest.digest)).collect();
        let last = set.manifests.last().unwrap().digest;
        set.tags.push((format!("{name}-again"), last));
        set.tag_params = true;
        set
    };
    vec![
        Set::new("sha512").under(Algorithm::Sha512).with(|set| set.index(2)),
        Set::new("sha512-with-subject").under(Algorithm::Sha512).with(|set| {
            let image = set.image(1);
            let subject = set.manifest(&image);
            and(set.artifact(EXAMPLE, None), "subject", subject)
        }),
        params("tag-param-sha256", Algorithm::Sha256),
        params("tag-param-sha512", Algorithm::Sha512),
    ]
}

/// What only a repository that says so takes: an image without one of its layers, an index without one of its images.
pub fn sparse() -> Set {
    let mut set = Set::new("sparse").with(|set| set.image(2)).tagged("sparse-image");
    let (digest, _) = set.blobs.pop().unwrap();
    set.absent.push(digest);
    let missing = json!({"mediaType": IMAGE, "digest": Digest::of(b"an image that is not here"), "size": 1_024});
    set.with(|set| {
        let image = set.image(1);
        index_of(&[set.manifest(&image), missing])
    })
    .tagged("sparse-index")
}
