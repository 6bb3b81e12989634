-- The history that conf/examples/repeat-caller.conf keeps: one row a transfer. For SQLite and PostgreSQL.
--
--     mkdir -m 0700 /var/lib/vapi && sqlite3 /var/lib/vapi/history.db < repeat-caller.sql && chown -R www-data /var/lib/vapi
--     psql -f repeat-caller.sql DATABASE       and then: GRANT SELECT, INSERT ON vapi_history TO "www-data"
--
-- (SQLite writes beside its file: the directory, too, must be that of Apache's user, here www-data.)
-- It holds callers' numbers: keep it as long as you need it, and no longer, e.g. once a day:
--     DELETE FROM vapi_history WHERE at < datetime('now', '-30 days');     (PostgreSQL: now() - interval '30 days')
CREATE TABLE IF NOT EXISTS vapi_history (
    caller  VARCHAR(64)  NOT NULL,
    call_id VARCHAR(64)  NOT NULL,
    route   VARCHAR(64)  NOT NULL,
    outcome VARCHAR(16)  NOT NULL,
    at      TIMESTAMP    NOT NULL DEFAULT CURRENT_TIMESTAMP
);
CREATE INDEX IF NOT EXISTS vapi_history_caller ON vapi_history (caller, at);
