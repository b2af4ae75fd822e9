-- Roles of AWS accounts that the broker takes for accounts of ours. The external id is ours and never changes.

CREATE TABLE aws_roles (
  account TEXT NOT NULL,
  name TEXT NOT NULL,
  role_arn TEXT NOT NULL,
  external_id TEXT NOT NULL,
  policy TEXT NOT NULL,
  duration_secs BIGINT NOT NULL,
  verified_at BIGINT,
  created_at BIGINT NOT NULL,
  PRIMARY KEY (account, name)
);
