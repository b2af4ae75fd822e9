//! The story: a dev team pushes in region 1, the image arrives in prod's account in region 2 under prod's own key, a
//! workload pulls with credentials scoped to just that, and everything else is denied with a reason.

use super::Broken;
use super::evidence;
use super::report::{Report, Seen};
use super::tool::{Place, Tool};
use crate::cli::client::{Client, Credentials};
use crate::cli::failure::{Failure, Result};
use crate::cli::layout::{Known, Placed};
use crate::names::{AccountId, RepositoryName, RepositoryRef};
use crate::oci;
use crate::pb::{identity, registry, replication, sharing, trust};
use crate::secret::Secret;
use std::path::{Path, PathBuf};
use std::time::Duration;
use tokio::time::Instant;

const REPOSITORY: &str = "team-a/app";
/// A tag that neither rule nor grant covers.
const UNRELEASED: &str = "dev-1";

pub(super) struct Story<'a> {
    folder: &'a Path,
    home: &'a Placed,
    away: &'a Placed,
    dev: &'a Known,
    prod: &'a Known,
    image: oci::Layout,
    tool: Tool,
    broken: Option<Broken>,
}

/// What the steps hand on.
struct Cast {
    dev: Client,
    prod: Client,
    dev_password: String,
    prod_password: String,
    grant: Option<String>,
    scoped: Option<Scoped>,
}

/// The passwords of a session that may do just one thing.
struct Scoped {
    home: String,
    away: String,
}

impl<'a> Story<'a> {
    pub(super) fn new(
        folder: &'a Path,
        placed: &'a [Placed],
        accounts: &'a [Known],
        image: oci::Layout,
        tool: Tool,
        broken: Option<Broken>,
    ) -> Result<Self> {
        let ([home, away], [dev, prod]) = (placed, accounts) else {
            return Err(Failure::new("the demo needs two regions and two accounts"));
        };
        Ok(Self { folder, home, away, dev, prod, image, tool, broken })
    }

    pub(super) async fn tell(&self, report: &mut Report) {
        let began = Instant::now();
        let mut cast = match self.prepare().await {
            Ok(cast) => cast,
            Err(failure) => return report.step("prepare", began, Err(failure.to_string())),
        };
        report.step("prepare", began, Ok(Seen::new(0, self.premise())));
        self.told(report, "push", self.push(&cast)).await;
        self.told(report, "replicate", self.replicate(&cast)).await;
        self.told(report, "receipt", self.receipt(&cast)).await;
        self.told(report, "keys_differ", async { self.keys_differ() }).await;
        let began = Instant::now();
        let pulled = self.scoped_pull(&mut cast).await;
        report.step("scoped_pull", began, pulled);
        self.told(report, "denied_push", self.denied_push(&cast)).await;
        self.told(report, "denied_foreign", self.denied_foreign(&cast)).await;
        self.told(report, "revoke", self.revoke(&cast)).await;
    }

    async fn told(&self, report: &mut Report, name: &'static str, step: impl Future<Output = Result<Seen, String>>) {
        let began = Instant::now();
        let outcome = step.await;
        report.step(name, began, outcome);
    }

    fn is(&self, broken: Broken) -> bool {
        self.broken == Some(broken)
    }

    fn tag(&self) -> &'static str {
        if self.is(Broken::WrongTag) { "rc-1.0" } else { "v1.0" }
    }

    fn premise(&self) -> String {
        format!(
            "dev is account {} at home in {}, prod is account {}; a rule carries {REPOSITORY}:v* to prod in {}",
            self.dev.id, self.home.region, self.prod.id, self.away.region
        )
    }

    fn place(&self, region: &Placed, account: &Known, name: &str, tag: &str, password: &str) -> Place {
        Place {
            endpoint: region.endpoint.clone(),
            repository: format!("{}/{name}", account.id),
            tag: tag.to_owned(),
            password: password.to_owned(),
        }
    }

    /// Consent, rule, role and grant, each by who owns it, over gRPC.
    async fn prepare(&self) -> Result<Cast> {
        let dev = connect(self.home, &credentials(self.dev)).await?;
        let prod = connect(self.away, &credentials(self.prod)).await?;
        let prod_at_home = connect(self.home, &credentials(self.prod)).await?;
        if !self.is(Broken::NoConsent) {
            self.consent(&prod).await?;
        }
        self.rule(&dev).await?;
        self.role(&prod_at_home).await?;
        let grant = if self.is(Broken::NoGrant) { None } else { Some(self.grant(&dev).await?) };
        let (dev_password, prod_password) = (dev.password().await?, prod.password().await?);
        Ok(Cast { dev, prod, dev_password, prod_password, grant, scoped: None })
    }

    async fn consent(&self, prod: &Client) -> Result<()> {
        let policy = serde_json::json!({"Version": "2012-10-17", "Statement": {
            "Sid": "ReplicasFromDev", "Effect": "Allow",
            "Principal": {"AWS": format!("arn:aws:iam::{}:root", self.dev.id)},
            "Action": ["ecr:ReplicateImage", "ecr:CreateRepository"],
            "Resource": format!("arn:aws:ecr:{}:{}:repository/team-a/*", self.away.region, self.prod.id),
        }});
        let request = registry::PutRegistryPolicyRequest {
            parent: format!("accounts/{}", self.prod.id),
            policy: policy.to_string(),
            ..Default::default()
        };
        prod.registry().put_registry_policy(request).await?;
        Ok(())
    }

    async fn rule(&self, dev: &Client) -> Result<()> {
        let rule = replication::Rule {
            repository_prefix: "team-a/".to_owned(),
            tag_pattern: "v*".to_owned(),
            destinations: vec![replication::Destination {
                region: self.away.region.to_string(),
                account: self.prod.id.clone(),
            }],
            ..Default::default()
        };
        let parent = format!("accounts/{}", self.dev.id);
        let request = replication::CreateRuleRequest { parent, rule: Some(rule), ..Default::default() };
        dev.replication().create_rule(request).await?;
        Ok(())
    }

    async fn role(&self, prod: &Client) -> Result<()> {
        let trusted = serde_json::json!({"Version": "2012-10-17", "Statement": {
            "Effect": "Allow", "Action": "sts:AssumeRole",
            "Principal": {"AWS": format!("arn:aws:iam::{}:user/admin", self.prod.id)},
        }});
        let request = identity::CreateRoleRequest {
            parent: format!("accounts/{}", self.prod.id),
            role_id: "app-runner".to_owned(),
            trust_policy: trusted.to_string(),
            ..Default::default()
        };
        prod.identity().create_role(request).await?;
        let document = serde_json::json!({"Version": "2012-10-17", "Statement": {
            "Effect": "Allow", "Resource": "*",
            "Action": ["ecr:GetAuthorizationToken", "ecr:BatchGetImage", "ecr:GetDownloadUrlForLayer",
                "ecr:BatchCheckLayerAvailability", "ecr:PutImage", "ecr:InitiateLayerUpload"],
        }});
        let request = identity::PutPrincipalPolicyRequest {
            parent: format!("accounts/{}/roles/app-runner", self.prod.id),
            policy_id: "pull".to_owned(),
            document: document.to_string(),
            ..Default::default()
        };
        prod.identity().put_principal_policy(request).await?;
        Ok(())
    }

    async fn grant(&self, dev: &Client) -> Result<String> {
        let grant = sharing::Grant {
            grantee: format!("arn:aws:iam::{}:role/app-runner", self.prod.id),
            repository_pattern: REPOSITORY.to_owned(),
            tag_pattern: "v*".to_owned(),
            actions: vec![sharing::GrantAction::Pull.into()],
            reason: "prod runs released images".to_owned(),
            ..Default::default()
        };
        let parent = format!("accounts/{}", self.dev.id);
        let request = sharing::CreateGrantRequest { parent, grant: Some(grant), ..Default::default() };
        let made = dev.sharing().create_grant(request).await?.into_inner().grant;
        Ok(made.unwrap_or_default().name)
    }

    async fn push(&self, cast: &Cast) -> Result<Seen, String> {
        for (repository, tag) in [(REPOSITORY, UNRELEASED), ("team-b/secret", "v1.0"), (REPOSITORY, self.tag())] {
            let place = self.place(self.home, self.dev, repository, tag, &cast.dev_password);
            self.tool.push(&self.image, &place).await?;
        }
        let size = self.image.size().map_err(|error| error.to_string())?;
        let digest = self.image.digest().map_err(|error| error.to_string())?;
        Ok(Seen::new(size, format!("{digest} as {REPOSITORY}:{} in {}", self.tag(), self.home.region)))
    }

    /// Waits until prod pulls the replica, and compares every byte.
    async fn replicate(&self, cast: &Cast) -> Result<Seen, String> {
        let patience = Duration::from_secs(if self.broken.is_some() { 8 } else { 60 });
        let deadline = Instant::now() + patience;
        let place = self.place(self.away, self.prod, REPOSITORY, self.tag(), &cast.prod_password);
        loop {
            let pulled = self.tool.pull(&place, &self.new_folder("replica")).await;
            match pulled {
                Ok(pulled) => {
                    let size = evidence::same(&self.image, &pulled)?;
                    return Ok(Seen::new(size, format!("pulled from {}, every blob hashed", self.away.region)));
                }
                Err(why) if Instant::now() >= deadline => {
                    let told = self.last_error(cast).await;
                    return Err(format!("not there after {} s: {why}{told}", patience.as_secs()));
                }
                Err(_) => tokio::time::sleep(Duration::from_millis(200)).await,
            }
        }
    }

    /// What the source says about it.
    async fn last_error(&self, cast: &Cast) -> String {
        let parent = format!("accounts/{}", self.dev.id);
        let status = cast.dev.replication().get_status(replication::GetStatusRequest { parent }).await;
        let status = status.map(|status| status.into_inner().destinations).unwrap_or_default();
        let error = status.first().map(|there| there.last_error.clone()).unwrap_or_default();
        if error.is_empty() {
            "\nthe source has nothing to send".to_owned()
        } else {
            format!("\nthe source says: {error}")
        }
    }

    /// The destination's word, checked against the certificate on its disk.
    async fn receipt(&self, cast: &Cast) -> Result<Seen, String> {
        let parent = format!("accounts/{}/repositories/{REPOSITORY}", self.dev.id);
        let request = replication::ListReceiptsRequest { parent, ..Default::default() };
        let deadline = Instant::now() + Duration::from_secs(5);
        let receipt = loop {
            let page =
                cast.dev.replication().list_receipts(request.clone()).await.map_err(|e| e.message().to_owned())?;
            match page.into_inner().receipts.into_iter().find(|receipt| receipt.tag == self.tag()) {
                Some(receipt) => break receipt,
                None if Instant::now() >= deadline => return Err("there is no receipt for the tag".to_owned()),
                None => tokio::time::sleep(Duration::from_millis(100)).await,
            }
        };
        let key = public_key(&self.away.folder.join("region.pem"))?;
        let expected = evidence::Expected {
            image: &self.image,
            source_region: self.home.region.as_str(),
            source: &self.dev.id,
            destination: repository(self.away, self.prod)?,
            tag: self.tag(),
        };
        let said = evidence::receipt(&receipt, &key, &expected)?;
        let detail = format!(
            "{} blobs, committed {} by {}/{}, signature holds under its certificate",
            said.blobs.len(),
            said.committed_at,
            said.destination.account,
            said.destination.region
        );
        Ok(Seen::new(said.blobs.iter().map(|blob| blob.size).sum(), detail))
    }

    fn keys_differ(&self) -> Result<Seen, String> {
        let source = evidence::Side::open(&self.home.folder, repository(self.home, self.dev)?)?;
        // A key serves one account in one region, so there is none that both could share.
        let (region, account) = if self.is(Broken::SameKey) { (self.home, self.dev) } else { (self.away, self.prod) };
        let destination = evidence::Side::open(&region.folder, repository(region, account)?)?;
        let sealed = evidence::differ(&self.image, &source, &destination)?;
        let detail = format!(
            "at the source      {}\nat the destination {}\n{} blobs are other bytes on each side, none its plaintext",
            sealed.source_key, sealed.destination_key, sealed.blobs
        );
        Ok(Seen::new(sealed.bytes, detail))
    }

    /// Credentials from the broker, narrowed by a session policy to this one repository, pull both copies.
    async fn scoped_pull(&self, cast: &mut Cast) -> Result<Seen, String> {
        let scoped = self.scoped_session(cast).await.map_err(|failure| failure.to_string())?;
        let home = self.place(self.home, self.dev, REPOSITORY, self.tag(), &scoped.home);
        let away = self.place(self.away, self.prod, REPOSITORY, self.tag(), &scoped.away);
        cast.scoped = Some(scoped);
        let mut size = 0;
        for place in [home, away] {
            let pulled = self.tool.pull(&place, &self.new_folder("scoped")).await?;
            size += evidence::same(&self.image, &pulled)?;
        }
        Ok(Seen::new(size, "the original by dev's grant, the replica in prod's own registry"))
    }

    async fn scoped_session(&self, cast: &Cast) -> Result<Scoped> {
        let of = |region: &Placed, account: &Known| {
            format!("arn:aws:ecr:{}:{}:repository/{REPOSITORY}", region.region, account.id)
        };
        let policy = serde_json::json!({"Version": "2012-10-17", "Statement": [
            {"Effect": "Allow", "Action": "ecr:GetAuthorizationToken", "Resource": "*"},
            {"Effect": "Allow", "Resource": [of(self.home, self.dev), of(self.away, self.prod)],
             "Action": ["ecr:BatchGetImage", "ecr:GetDownloadUrlForLayer", "ecr:BatchCheckLayerAvailability"]},
        ]});
        let request = trust::AssumeRoleRequest {
            role_arn: format!("arn:aws:iam::{}:role/app-runner", self.prod.id),
            session_name: "deploy".to_owned(),
            policies: vec![policy.to_string()],
            ..Default::default()
        };
        let assumed = self.assumed(cast, request).await?;
        let keys = assumed.credentials.unwrap_or_default();
        let credentials = Credentials {
            access_key_id: keys.access_key_id,
            secret: Secret::new(keys.secret_access_key),
            session_token: Some(Secret::new(keys.session_token)),
        };
        let home = connect(self.home, &credentials).await?.password().await?;
        let away = connect(self.away, &credentials).await?.password().await?;
        Ok(Scoped { home, away })
    }

    /// The role was made at home a moment ago; the other region may hear of it a moment later.
    async fn assumed(&self, cast: &Cast, request: trust::AssumeRoleRequest) -> Result<trust::AssumeRoleResponse> {
        let deadline = Instant::now() + Duration::from_secs(5);
        loop {
            match cast.prod.trust().assume_role(request.clone()).await {
                Ok(assumed) => return Ok(assumed.into_inner()),
                Err(status) if Instant::now() >= deadline => return Err(status.into()),
                Err(_) => tokio::time::sleep(Duration::from_millis(100)).await,
            }
        }
    }

    async fn denied_push(&self, cast: &Cast) -> Result<Seen, String> {
        let scoped = cast.scoped.as_ref().ok_or("there is no scoped session")?;
        let place = self.place(self.home, self.dev, REPOSITORY, "v9.9", &scoped.home);
        denied(self.tool.push(&self.image, &place).await.err()).map(|detail| Seen::new(0, detail))
    }

    async fn denied_foreign(&self, cast: &Cast) -> Result<Seen, String> {
        let scoped = cast.scoped.as_ref().ok_or("there is no scoped session")?;
        let mut told = Vec::new();
        for (name, tag) in [(REPOSITORY, UNRELEASED), ("team-b/secret", "v1.0"), ("no/such", "v1.0")] {
            let place = self.place(self.home, self.dev, name, tag, &scoped.home);
            let refused = self.tool.pull(&place, &self.new_folder("foreign")).await.err();
            told.push(denied(refused).map_err(|why| format!("{name}:{tag}: {why}"))?);
        }
        Ok(Seen::new(0, told.join("\n")))
    }

    async fn revoke(&self, cast: &Cast) -> Result<Seen, String> {
        let (Some(grant), Some(scoped)) = (&cast.grant, &cast.scoped) else {
            return Err("there is no grant to revoke".to_owned());
        };
        if !self.is(Broken::NoRevoke) {
            let request = sharing::RevokeGrantRequest { name: grant.clone(), ..Default::default() };
            cast.dev.sharing().revoke_grant(request).await.map_err(|status| status.message().to_owned())?;
        }
        let place = self.place(self.home, self.dev, REPOSITORY, self.tag(), &scoped.home);
        let refused = self.tool.pull(&place, &self.new_folder("revoked")).await.err();
        denied(refused).map(|detail| Seen::new(0, format!("the same pull, after the grant was revoked:\n{detail}")))
    }

    fn new_folder(&self, what: &str) -> PathBuf {
        self.folder.join(format!("{what}-{}", crate::clock::Clock::system().uid()))
    }
}

/// A refusal that says who may not do what; anything else is no denial.
fn denied(refused: Option<String>) -> Result<String, String> {
    let text = refused.ok_or("it was allowed")?;
    match text.to_ascii_lowercase().find("is not authorized to perform") {
        // The client's own words come before the registry's sentence.
        Some(at) => Ok(text[text[..at].rfind("ser: ").map_or(0, |user| user.saturating_sub(1))..]
            .trim_end_matches('"')
            .to_owned()),
        None => Err(format!("it failed, but not by a denial: {text}")),
    }
}

fn credentials(account: &Known) -> Credentials {
    Credentials {
        access_key_id: account.access_key_id.clone(),
        secret: Secret::new(account.secret_access_key.clone()),
        session_token: None,
    }
}

async fn connect(region: &Placed, credentials: &Credentials) -> Result<Client> {
    Client::connect(&region.endpoint, None, credentials).await
}

/// The story's repository in a region and account.
fn repository(region: &Placed, account: &Known) -> Result<RepositoryRef, String> {
    let named = || -> Result<_, crate::names::Error> {
        let (account, name) = (AccountId::parse(&account.id)?, RepositoryName::parse(REPOSITORY)?);
        Ok(RepositoryRef { account, region: region.region.clone(), name })
    };
    named().map_err(|error| error.to_string())
}

/// The P-256 point of the certificate in a file.
fn public_key(path: &Path) -> Result<Vec<u8>, String> {
    use rustls::pki_types::{CertificateDer, pem::PemObject};
    let bytes = std::fs::read(path).map_err(|error| format!("{}: {error}", path.display()))?;
    let certificate = CertificateDer::from_pem_slice(&bytes).map_err(|error| error.to_string())?;
    crate::peer::public_key(&certificate).map_err(|error| error.message)
}
