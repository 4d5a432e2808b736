-- What a policy on trial said where it decided otherwise, for `decision_calls.differed`.

ALTER TABLE decision_calls ADD COLUMN shadow text NOT NULL DEFAULT '';
