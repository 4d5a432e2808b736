-- How far each AuditSink has come in its tenant's audit log: what is behind `seq` is still to be sent.

CREATE TABLE audit_sinks (
    tenant        text COLLATE "C" NOT NULL,
    name          text COLLATE "C" NOT NULL,
    kind          text COLLATE "C" NOT NULL DEFAULT 'AuditSink' CHECK (kind = 'AuditSink'),
    seq           bigint NOT NULL,
    due_at        timestamptz NOT NULL DEFAULT now(),
    claimed_until timestamptz NOT NULL DEFAULT '-infinity',
    failures      integer NOT NULL DEFAULT 0,
    PRIMARY KEY (tenant, name),
    FOREIGN KEY (tenant, kind, name) REFERENCES resources ON DELETE CASCADE
);
