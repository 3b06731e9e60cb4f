-- Logins for the programs, each with the rights of its role and no more. Run it after `inferq migrate`,
-- which makes the roles, as the database's owner; running it again changes passwords and nothing else.
--
--   psql -v ON_ERROR_STOP=1 -v secrets=/etc/inferq/secrets -f deploy/logins.sql
--
-- `secrets` is the directory of the files worker-password, operator-password and scaler-password.
\set worker_password `cat :'secrets'/worker-password`
\set operator_password `cat :'secrets'/operator-password`
\set scaler_password `cat :'secrets'/scaler-password`

SELECT format('CREATE ROLE %I LOGIN', name)
FROM unnest(ARRAY['inferq_login_worker', 'inferq_login_operator', 'inferq_login_scaler']) AS name
WHERE NOT EXISTS (SELECT FROM pg_roles WHERE rolname = name) \gexec

ALTER ROLE inferq_login_worker PASSWORD :'worker_password';
ALTER ROLE inferq_login_operator PASSWORD :'operator_password';
ALTER ROLE inferq_login_scaler PASSWORD :'scaler_password';

-- Workers; people who submit, watch and review; what scales workers, which counts parked jobs and sees
-- nothing of them.
GRANT inferq_worker TO inferq_login_worker;
GRANT inferq_producer, inferq_operator, inferq_reviewer TO inferq_login_operator;
GRANT USAGE ON SCHEMA inferq TO inferq_login_scaler;
GRANT SELECT (wait_key, priority, next_at, taken_by) ON inferq.parked TO inferq_login_scaler;
