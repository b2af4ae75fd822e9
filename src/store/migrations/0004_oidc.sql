-- Issuers of identity tokens that an account trusts.

CREATE TABLE oidc_providers (
  account TEXT NOT NULL,
  issuer TEXT NOT NULL,
  client_ids TEXT NOT NULL,
  ca_pem TEXT,
  created_at BIGINT NOT NULL,
  PRIMARY KEY (account, issuer)
);
