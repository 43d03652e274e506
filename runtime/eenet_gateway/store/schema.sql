-- Version 1. Times are seconds since 1970, UTC. No name, no birth date, no patient's number in any column.
CREATE TABLE meta (name TEXT PRIMARY KEY, value TEXT NOT NULL) STRICT;

CREATE TABLE study (
    key TEXT PRIMARY KEY,                    -- salted hash of uid: what logs, folders and messages call it
    uid TEXT NOT NULL UNIQUE,                -- Study Instance UID
    state TEXT NOT NULL,
    entered REAL NOT NULL,                   -- when it entered that state
    received REAL NOT NULL,                  -- its first image
    last REAL NOT NULL,                      -- its last new image
    revision INTEGER NOT NULL DEFAULT 0,     -- counts new images
    decided INTEGER NOT NULL DEFAULT -1,     -- revision that the last decision was made on
    generation INTEGER NOT NULL DEFAULT 0,   -- counts different sets of images that were computed
    inputs TEXT NOT NULL DEFAULT '',         -- hash over the images of the four series of this generation
    roles TEXT NOT NULL DEFAULT '{}',        -- JSON: contrast -> Series Instance UID, of this generation
    choices TEXT NOT NULL DEFAULT '{}',      -- JSON: the same, chosen by hand
    reason TEXT NOT NULL DEFAULT '',         -- why it is held, failed or ignored
    attempts INTEGER NOT NULL DEFAULT 0,     -- computations of this generation that went wrong, and the one that runs
    interrupted INTEGER NOT NULL DEFAULT 0,  -- how often the gateway itself ended while one ran
    next_try REAL NOT NULL DEFAULT 0,
    kept INTEGER NOT NULL DEFAULT 1          -- 0: its images were deleted
) STRICT;
CREATE INDEX study_by_state ON study (state);

CREATE TABLE instance (
    study TEXT NOT NULL REFERENCES study (key) ON DELETE CASCADE,
    sop_uid TEXT NOT NULL,
    sha256 TEXT NOT NULL,                    -- of transfer syntax and dataset: the file's name
    series_uid TEXT NOT NULL,
    bytes INTEGER NOT NULL,
    calling_ae TEXT NOT NULL,
    received REAL NOT NULL,
    standing TEXT NOT NULL,                  -- 'used', 'conflict' (same UID, other bytes) or 'set aside'
    kept INTEGER NOT NULL DEFAULT 1,
    PRIMARY KEY (sop_uid, sha256)
) STRICT;
CREATE INDEX instance_by_study ON instance (study);

CREATE TABLE result (
    study TEXT NOT NULL REFERENCES study (key) ON DELETE CASCADE,
    generation INTEGER NOT NULL,
    place INTEGER NOT NULL,                  -- order of delivery
    kind TEXT NOT NULL,                      -- seg, sr, sc
    sop_uid TEXT NOT NULL,
    sop_class TEXT NOT NULL,
    syntax TEXT NOT NULL,
    file TEXT NOT NULL,                      -- below the folder of the generation's results
    sha256 TEXT NOT NULL,                    -- of the file
    PRIMARY KEY (study, generation, sop_uid)
) STRICT;
CREATE INDEX result_by_sop ON result (sop_uid);

CREATE TABLE delivery (
    study TEXT NOT NULL REFERENCES study (key) ON DELETE CASCADE,
    generation INTEGER NOT NULL,
    sop_uid TEXT NOT NULL,
    destination TEXT NOT NULL,
    state TEXT NOT NULL DEFAULT 'pending',   -- pending, sent, dead
    attempts INTEGER NOT NULL DEFAULT 0,
    first_try REAL,
    next_try REAL NOT NULL DEFAULT 0,
    last_status TEXT NOT NULL DEFAULT '',
    sent REAL,
    PRIMARY KEY (study, generation, sop_uid, destination)
) STRICT;
CREATE INDEX delivery_by_destination ON delivery (destination, state);

CREATE TABLE event (                         -- only ever added to, and forgotten with the study
    number INTEGER PRIMARY KEY,
    time REAL NOT NULL,
    study TEXT NOT NULL,
    what TEXT NOT NULL,
    detail TEXT NOT NULL DEFAULT ''
) STRICT;
CREATE INDEX event_by_study ON event (study);

CREATE TABLE counter (name TEXT PRIMARY KEY, value INTEGER NOT NULL) STRICT;

CREATE TABLE echo (destination TEXT PRIMARY KEY, time REAL NOT NULL, answered REAL, words TEXT NOT NULL) STRICT;
