-- Second factors of users: their secrets in the directory, and in each region the last code that was used there.

CREATE TABLE mfa_devices (
  account TEXT NOT NULL,
  name TEXT NOT NULL,
  unique_id TEXT NOT NULL,
  sealed_secret BYTEA NOT NULL,
  enabled BIGINT NOT NULL,
  created_at BIGINT NOT NULL,
  PRIMARY KEY (account, name)
);
CREATE INDEX mfa_devices_owner ON mfa_devices (unique_id);

CREATE TABLE mfa_steps (
  account TEXT NOT NULL,
  name TEXT NOT NULL,
  step BIGINT NOT NULL,
  PRIMARY KEY (account, name)
);
