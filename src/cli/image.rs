//! `transship image`.

use super::Session;
use super::failure::Result;
use super::output::{Output, Rows, bytes, time};
use crate::pb::registry as pb;
use serde_json::Value;

#[derive(clap::Subcommand, Debug)]
pub(super) enum Image {
    /// Lists a repository's images.
    List { repository: String },
    /// Removes a tag, or an image by digest with all its tags.
    Delete { repository: String, reference: String },
}

impl Image {
    pub(super) async fn run(self, session: &Session) -> Result<()> {
        match self {
            Self::List { repository } => list(session, &repository).await,
            Self::Delete { repository, reference } => {
                let request = pb::DeleteImageRequest {
                    parent: session.repository(&repository).await?,
                    reference,
                    request_id: session.request_id(),
                    validate_only: session.global.dry_run,
                };
                session.client.registry().delete_image(request).await?;
                Ok(())
            }
        }
    }
}

async fn list(session: &Session, repository: &str) -> Result<()> {
    let parent = session.repository(repository).await?;
    let mut rows = Rows::new(&["DIGEST", "TAGS", "SIZE", "PUSHED", "MEDIA TYPE", "KMS KEY"]);
    let mut page_token = String::new();
    loop {
        let request = pb::ListImagesRequest { parent: parent.clone(), page_size: 0, page_token };
        let page = session.client.registry().list_images(request).await?.into_inner();
        for image in page.images {
            let size = match session.global.output {
                Output::Table => bytes(u64::try_from(image.size_bytes).unwrap_or(0)).into(),
                Output::Json => Value::from(image.size_bytes),
            };
            let pushed = time(image.push_time.as_ref());
            let (media_type, key) = (image.media_type.into(), image.kms_key_arn.into());
            rows.push([image.digest.into(), image.tags.into(), size, pushed, media_type, key]);
        }
        page_token = page.next_page_token;
        if page_token.is_empty() {
            rows.print(session.global.output);
            return Ok(());
        }
    }
}
