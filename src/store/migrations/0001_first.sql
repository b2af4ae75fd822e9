-- One text for SQLite and PostgreSQL. Times are microseconds since 1970, ids 16 random bytes made by the application.

-- The node whose disk holds the blobs; a second node with disk blobs is refused.
CREATE TABLE nodes (
  uid BYTEA NOT NULL PRIMARY KEY,
  region TEXT NOT NULL,
  created_at BIGINT NOT NULL
);

-- Directory: written in the home region, followed by the others.
CREATE TABLE organization (
  uid BYTEA NOT NULL PRIMARY KEY,
  home_region TEXT NOT NULL,
  created_at BIGINT NOT NULL
);
CREATE TABLE token_keys (
  id BIGINT NOT NULL PRIMARY KEY,
  sealed BYTEA NOT NULL,
  created_at BIGINT NOT NULL
);
CREATE TABLE accounts (
  id TEXT NOT NULL PRIMARY KEY,
  display_name TEXT NOT NULL UNIQUE,
  created_at BIGINT NOT NULL
);
CREATE TABLE principals (
  account TEXT NOT NULL,
  kind TEXT NOT NULL,
  name TEXT NOT NULL,
  unique_id TEXT NOT NULL UNIQUE,
  trust_policy TEXT,
  trust_bindings TEXT,
  max_session_secs BIGINT NOT NULL,
  created_at BIGINT NOT NULL,
  PRIMARY KEY (account, kind, name)
);
CREATE TABLE principal_policies (
  unique_id TEXT NOT NULL,
  name TEXT NOT NULL,
  document TEXT NOT NULL,
  PRIMARY KEY (unique_id, name)
);
CREATE TABLE access_keys (
  id TEXT NOT NULL PRIMARY KEY,
  unique_id TEXT NOT NULL,
  sealed_secret BYTEA NOT NULL,
  created_at BIGINT NOT NULL
);
CREATE INDEX access_keys_owner ON access_keys (unique_id);

-- A grow-only set, writable in any region; a row is forgotten once no token it can hit is alive.
CREATE TABLE revocations (
  id BYTEA NOT NULL PRIMARY KEY,
  kind TEXT NOT NULL,
  subject TEXT NOT NULL,
  before_at BIGINT NOT NULL,
  expires_at BIGINT NOT NULL,
  local_origin BIGINT NOT NULL
);
CREATE INDEX revocations_subject ON revocations (subject);

-- Sessions issued here, for listing and audit; verification never needs them.
CREATE TABLE sessions (
  id BYTEA NOT NULL PRIMARY KEY,
  account TEXT NOT NULL,
  principal TEXT NOT NULL,
  name TEXT NOT NULL,
  issued_at BIGINT NOT NULL,
  expires_at BIGINT NOT NULL
);
CREATE INDEX sessions_account ON sessions (account, issued_at);

-- Streams: commit-ordered and gapless, since a change takes its number from the head row it locks.
CREATE TABLE stream_heads (
  stream TEXT NOT NULL,
  shard BIGINT NOT NULL,
  head BIGINT NOT NULL,
  PRIMARY KEY (stream, shard)
);
CREATE TABLE changes (
  stream TEXT NOT NULL,
  shard BIGINT NOT NULL,
  seq BIGINT NOT NULL,
  at BIGINT NOT NULL,
  kind TEXT NOT NULL,
  subject TEXT NOT NULL,
  repository BYTEA,
  digest TEXT,
  tag TEXT,
  tag_version BIGINT,
  PRIMARY KEY (stream, shard, seq)
);
CREATE TABLE cursors (
  stream TEXT NOT NULL,
  shard BIGINT NOT NULL,
  follower TEXT NOT NULL,
  seq BIGINT NOT NULL,
  at BIGINT NOT NULL,
  PRIMARY KEY (stream, shard, follower)
);

-- Regional: registries, keys, repositories.
CREATE TABLE registries (
  account TEXT NOT NULL PRIMARY KEY,
  shards BIGINT NOT NULL,
  create_on_push BIGINT NOT NULL,
  sparse_manifests BIGINT NOT NULL,
  profile TEXT NOT NULL,
  kms_key TEXT,
  policy TEXT,
  policy_bindings TEXT,
  created_at BIGINT NOT NULL
);
CREATE TABLE kms_keys (
  arn TEXT NOT NULL PRIMARY KEY,
  account TEXT NOT NULL,
  state TEXT NOT NULL,
  description TEXT NOT NULL,
  created_at BIGINT NOT NULL
);
CREATE INDEX kms_keys_account ON kms_keys (account, arn);
CREATE TABLE kms_materials (
  key TEXT NOT NULL REFERENCES kms_keys (arn),
  version BIGINT NOT NULL,
  sealed BYTEA NOT NULL,
  PRIMARY KEY (key, version)
);
CREATE TABLE repositories (
  uid BYTEA NOT NULL PRIMARY KEY,
  account TEXT NOT NULL,
  name TEXT NOT NULL,
  kms_key TEXT NOT NULL,
  branch_version BIGINT NOT NULL,
  sparse_manifests BIGINT,
  policy TEXT,
  policy_bindings TEXT,
  created_at BIGINT NOT NULL,
  UNIQUE (account, name)
);
CREATE TABLE branch_keys (
  repository BYTEA NOT NULL REFERENCES repositories (uid) ON DELETE CASCADE,
  version BIGINT NOT NULL,
  kms_key TEXT NOT NULL,
  wrapped BYTEA NOT NULL,
  created_at BIGINT NOT NULL,
  PRIMARY KEY (repository, version)
);

-- Blob objects at rest: one file each, named by uid; reachable only through links.
CREATE TABLE blobs (
  uid BYTEA NOT NULL PRIMARY KEY,
  account TEXT NOT NULL,
  kms_key TEXT NOT NULL,
  digest TEXT NOT NULL,
  sha256 TEXT,
  size BIGINT NOT NULL,
  segment BIGINT NOT NULL,
  parts BYTEA NOT NULL,
  commitment BYTEA NOT NULL,
  created_at BIGINT NOT NULL,
  verified_at BIGINT NOT NULL,
  condemned_at BIGINT
);
CREATE INDEX blobs_content ON blobs (account, kms_key, digest);

-- The (repository, blob) edge: what exists in a repository is what has a row here.
CREATE TABLE links (
  repository BYTEA NOT NULL REFERENCES repositories (uid) ON DELETE CASCADE,
  digest TEXT NOT NULL,
  blob BYTEA NOT NULL REFERENCES blobs (uid),
  branch_version BIGINT NOT NULL,
  salt BYTEA NOT NULL,
  wrapped BYTEA NOT NULL,
  source_account TEXT,
  lease_until BIGINT NOT NULL,
  created_at BIGINT NOT NULL,
  PRIMARY KEY (repository, digest)
);
CREATE INDEX links_blob ON links (blob);

CREATE TABLE manifests (
  repository BYTEA NOT NULL REFERENCES repositories (uid) ON DELETE CASCADE,
  digest TEXT NOT NULL,
  sha256 TEXT,
  media_type TEXT NOT NULL,
  artifact_type TEXT,
  annotations TEXT,
  subject TEXT,
  size BIGINT NOT NULL,
  total_size BIGINT NOT NULL,
  uid BYTEA NOT NULL,
  branch_version BIGINT NOT NULL,
  salt BYTEA NOT NULL,
  wrapped BYTEA NOT NULL,
  parts BYTEA NOT NULL,
  commitment BYTEA NOT NULL,
  sealed BYTEA NOT NULL,
  pushed_at BIGINT NOT NULL,
  PRIMARY KEY (repository, digest)
);
CREATE INDEX manifests_subject ON manifests (repository, subject, digest);

-- manifest -> blob, manifest -> child manifest, manifest -> subject.
CREATE TABLE edges (
  repository BYTEA NOT NULL,
  parent TEXT NOT NULL,
  kind TEXT NOT NULL,
  child TEXT NOT NULL,
  PRIMARY KEY (repository, parent, kind, child),
  FOREIGN KEY (repository, parent) REFERENCES manifests (repository, digest) ON DELETE CASCADE
);
CREATE INDEX edges_child ON edges (repository, child, kind);

CREATE TABLE tags (
  repository BYTEA NOT NULL,
  tag TEXT NOT NULL,
  digest TEXT NOT NULL,
  version BIGINT NOT NULL,
  origin TEXT NOT NULL,
  updated_at BIGINT NOT NULL,
  PRIMARY KEY (repository, tag),
  FOREIGN KEY (repository, digest) REFERENCES manifests (repository, digest) ON DELETE CASCADE
);
CREATE INDEX tags_digest ON tags (repository, digest);

CREATE TABLE uploads (
  uid BYTEA NOT NULL PRIMARY KEY,
  repository BYTEA NOT NULL REFERENCES repositories (uid) ON DELETE CASCADE,
  principal TEXT NOT NULL,
  blob BYTEA NOT NULL,
  branch_version BIGINT NOT NULL,
  salt BYTEA NOT NULL,
  wrapped BYTEA NOT NULL,
  size BIGINT NOT NULL,
  parts BYTEA NOT NULL,
  hash_state BYTEA NOT NULL,
  sha512 BIGINT NOT NULL,
  digest TEXT,
  expires_at BIGINT NOT NULL,
  created_at BIGINT NOT NULL
);
CREATE INDEX uploads_expiry ON uploads (expires_at);
CREATE INDEX uploads_repository ON uploads (repository, principal, digest);

-- Who brought a blob or manifest into a repository, and so may name it though no tag shows it yet.
CREATE TABLE claims (
  repository BYTEA NOT NULL REFERENCES repositories (uid) ON DELETE CASCADE,
  digest TEXT NOT NULL,
  principal TEXT NOT NULL,
  expires_at BIGINT NOT NULL,
  PRIMARY KEY (repository, digest, principal)
);
CREATE INDEX claims_expiry ON claims (expires_at);

CREATE TABLE grants (
  id BYTEA NOT NULL PRIMARY KEY,
  account TEXT NOT NULL,
  grantee TEXT NOT NULL,
  grantee_id TEXT,
  repository_pattern TEXT NOT NULL,
  tag_pattern TEXT NOT NULL,
  actions TEXT NOT NULL,
  not_before BIGINT NOT NULL,
  not_after BIGINT,
  reason TEXT NOT NULL,
  creator TEXT NOT NULL,
  created_at BIGINT NOT NULL,
  revoked_at BIGINT,
  version BIGINT NOT NULL
);
CREATE INDEX grants_account ON grants (account, id);

-- Replication, source side.
CREATE TABLE rules (
  id BYTEA NOT NULL PRIMARY KEY,
  account TEXT NOT NULL,
  repository_prefix TEXT NOT NULL,
  tag_pattern TEXT NOT NULL,
  created_at BIGINT NOT NULL,
  version BIGINT NOT NULL
);
CREATE INDEX rules_account ON rules (account, id);
CREATE TABLE rule_destinations (
  rule BYTEA NOT NULL REFERENCES rules (id) ON DELETE CASCADE,
  region TEXT NOT NULL,
  account TEXT NOT NULL,
  PRIMARY KEY (rule, region, account)
);
CREATE TABLE slots (
  account TEXT NOT NULL,
  region TEXT NOT NULL,
  destination TEXT NOT NULL,
  epoch BIGINT NOT NULL,
  lease_owner BYTEA,
  lease_until BIGINT NOT NULL,
  last_error TEXT,
  last_error_at BIGINT,
  last_success_at BIGINT,
  created_at BIGINT NOT NULL,
  PRIMARY KEY (account, region, destination)
);
CREATE TABLE dead_letters (
  account TEXT NOT NULL,
  region TEXT NOT NULL,
  destination TEXT NOT NULL,
  shard BIGINT NOT NULL,
  seq BIGINT NOT NULL,
  reason TEXT NOT NULL,
  message TEXT NOT NULL,
  at BIGINT NOT NULL,
  PRIMARY KEY (account, region, destination, shard, seq)
);
CREATE TABLE receipts (
  repository BYTEA NOT NULL,
  digest TEXT NOT NULL,
  region TEXT NOT NULL,
  destination TEXT NOT NULL,
  tag TEXT NOT NULL,
  body BYTEA NOT NULL,
  signature BYTEA NOT NULL,
  certificate BYTEA NOT NULL,
  at BIGINT NOT NULL,
  PRIMARY KEY (repository, digest, region, destination, tag)
);

-- Replication, destination side: the highest epoch seen and the last change applied, per shard.
CREATE TABLE inbound_epochs (
  source_region TEXT NOT NULL,
  source TEXT NOT NULL,
  destination TEXT NOT NULL,
  epoch BIGINT NOT NULL,
  PRIMARY KEY (source_region, source, destination)
);
CREATE TABLE inbound (
  source_region TEXT NOT NULL,
  source TEXT NOT NULL,
  destination TEXT NOT NULL,
  shard BIGINT NOT NULL,
  seq BIGINT NOT NULL,
  PRIMARY KEY (source_region, source, destination, shard)
);

-- The gate's own rows.
CREATE TABLE audit (
  id BYTEA NOT NULL PRIMARY KEY,
  at BIGINT NOT NULL,
  request BYTEA NOT NULL,
  op TEXT NOT NULL,
  caller TEXT NOT NULL,
  account TEXT,
  resource TEXT NOT NULL,
  outcome TEXT NOT NULL,
  detail TEXT NOT NULL,
  source_ip TEXT
);
CREATE INDEX audit_time ON audit (account, at);
CREATE TABLE requests (
  caller TEXT NOT NULL,
  request_id TEXT NOT NULL,
  op TEXT NOT NULL,
  fingerprint BYTEA NOT NULL,
  result BYTEA NOT NULL,
  at BIGINT NOT NULL,
  PRIMARY KEY (caller, request_id)
);
CREATE INDEX requests_time ON requests (at);
