BEGIN TRANSACTION;
CREATE TABLE about (
	"key" TEXT NOT NULL, 
	value TEXT, 
	PRIMARY KEY ("key")
);
INSERT INTO "about" VALUES('schema','3');
CREATE TABLE control_arms (
	project INTEGER NOT NULL, 
	task INTEGER NOT NULL, 
	draw TEXT NOT NULL, 
	arm TEXT NOT NULL, 
	PRIMARY KEY (project, task)
);
CREATE TABLE control_comparisons (
	project INTEGER NOT NULL, 
	round INTEGER NOT NULL, 
	draw TEXT NOT NULL, 
	result TEXT NOT NULL, 
	PRIMARY KEY (project, round)
);
CREATE TABLE events (
	project INTEGER NOT NULL, 
	kind TEXT NOT NULL, 
	recorded INTEGER NOT NULL, 
	acknowledged INTEGER NOT NULL, 
	since FLOAT NOT NULL, 
	PRIMARY KEY (project, kind)
);
INSERT INTO "events" VALUES(1,'setup',4,4,1.79600834060372471813e+09);
INSERT INTO "events" VALUES(1,'config',5,2,1.79600834277329897883e+09);
INSERT INTO "events" VALUES(1,'changed',5,5,1.79600834060410523415e+09);
INSERT INTO "events" VALUES(1,'train',1,1,1.79600834064402532577e+09);
CREATE TABLE lease (
	name TEXT NOT NULL, 
	owner TEXT NOT NULL, 
	token INTEGER NOT NULL, 
	until FLOAT NOT NULL, 
	PRIMARY KEY (name)
);
INSERT INTO "lease" VALUES('worker','host/4008/1796008332.50',1,1.79600840276784539219e+09);
CREATE TABLE live_annotations (
	project INTEGER NOT NULL, 
	annotation INTEGER NOT NULL, 
	task INTEGER NOT NULL, 
	updated_at TEXT NOT NULL, 
	kind TEXT NOT NULL, 
	version TEXT NOT NULL, 
	annotator INTEGER, 
	lead_time FLOAT, 
	counts TEXT NOT NULL, 
	outdated BOOLEAN NOT NULL, 
	written FLOAT NOT NULL, 
	PRIMARY KEY (project, annotation)
);
INSERT INTO "live_annotations" VALUES(1,1,1,'2026-11-30T03:12:20.556780Z','no_model','',1,NULL,'null',0,1.79600834068723726275e+09);
INSERT INTO "live_annotations" VALUES(1,2,2,'2026-11-30T03:12:20.564725Z','no_model','',1,NULL,'null',0,1.79600834068829774857e+09);
INSERT INTO "live_annotations" VALUES(1,3,3,'2026-11-30T03:12:20.572718Z','no_model','',1,NULL,'null',0,1.79600834069283914564e+09);
INSERT INTO "live_annotations" VALUES(1,4,4,'2026-11-30T03:12:20.580713Z','no_model','',1,NULL,'null',0,1.79600834069306921963e+09);
INSERT INTO "live_annotations" VALUES(1,5,5,'2026-11-30T03:12:20.588735Z','no_model','',1,NULL,'null',0,1.79600834069325685504e+09);
CREATE TABLE projects (
	id INTEGER NOT NULL, 
	origin TEXT NOT NULL, 
	state TEXT NOT NULL, 
	PRIMARY KEY (id)
);
INSERT INTO "projects" VALUES(1,'http://127.0.0.1:38147','{"backend_urls": ["http://127.0.0.1:43013"], "label_config": "<View><Image name=\"image\" value=\"$image\"/>\n<BrushLabels name=\"tag\" toName=\"image\"><Label value=\"square\"/><Label value=\"bar\"/></BrushLabels>\n</View>", "title": "A project", "before": {"sampling": "Sequential sampling", "model_version": "", "show_collab_predictions": true, "webhooks": [{"id": 1, "url": "http://127.0.0.1:43013/webhook", "send_payload": true, "send_for_all_actions": true, "is_active": true, "actions": []}]}, "armed": {"sampling": "Uncertainty sampling", "show_collab_predictions": true, "webhook": 1, "backend_url": "http://127.0.0.1:43013"}, "backend_id": 1, "message": "", "serving": "taudis-0002-6b0ce994", "reorder": false, "gone": false, "changed": 0, "labelled_at": 1796008340.329805, "scores_only": "", "left_out": {"labels": {"tasks": 0, "lost": 0, "kinds": {}, "first": [], "train": 4, "validation": 1, "round": 2}, "unlabelled": {"tasks": 0, "lost": 0, "kinds": {}, "first": [], "train": 0, "validation": 0, "round": 2}}, "model": "taudis-0002-6b0ce994", "filled": {"taudis-0001-6b0ce994": 8, "taudis-0002-6b0ce994": 3}, "flipped_at": 1796008342.775631, "changed_by_person": "", "seed_mean_instances": 2.0, "pinned": "taudis-0002-6b0ce994", "promoted": ""}');
CREATE TABLE rounds (
	id INTEGER NOT NULL PRIMARY KEY AUTOINCREMENT, 
	project INTEGER NOT NULL, 
	number INTEGER NOT NULL, 
	kind TEXT NOT NULL, 
	reason TEXT NOT NULL, 
	started FLOAT NOT NULL, 
	ended FLOAT, 
	outcome TEXT, 
	message TEXT NOT NULL, 
	progress TEXT NOT NULL, 
	UNIQUE (project, number)
);
INSERT INTO "rounds" VALUES(1,1,1,'first','8 tasks have no place in the order yet',1796008340.33553,1.79600834054846048353e+09,'served','order by random','{"step": "pruned", "done": 0, "total": 0, "at": 1796008340.5415099}');
INSERT INTO "rounds" VALUES(2,1,2,'train','Start Training',1.7960083406443185806e+09,1.79600834278568911549e+09,'served','served: there is no model before it for these labels; order by taudis','{"step": "compared", "done": 0, "total": 0, "at": 1796008342.7847567}');
INSERT INTO "rounds" VALUES(3,1,3,'refresh','a test',1.79600834288376188284e+09,1.79600834288508319847e+09,'served','','{}');
CREATE TABLE seals (name TEXT PRIMARY KEY, total INTEGER NOT NULL);
INSERT INTO "seals" VALUES('about',7788745766713094);
INSERT INTO "seals" VALUES('control_arms',0);
INSERT INTO "seals" VALUES('control_comparisons',0);
INSERT INTO "seals" VALUES('events',5119622558909153);
INSERT INTO "seals" VALUES('lease',3825337983784489);
INSERT INTO "seals" VALUES('live_annotations',3368706783680939);
INSERT INTO "seals" VALUES('projects',3422523106296097);
INSERT INTO "seals" VALUES('rounds',7612403969322002);
INSERT INTO "seals" VALUES('steps',8375891060283211);
INSERT INTO "seals" VALUES('versions',5049122690127727);
INSERT INTO "seals" VALUES('(definitions)',2690009403712835);
CREATE TABLE steps (
	round INTEGER NOT NULL, 
	step TEXT NOT NULL, 
	result TEXT NOT NULL, 
	at FLOAT NOT NULL, 
	PRIMARY KEY (round, step)
);
INSERT INTO "steps" VALUES(1,'synced','{"labelled": 0, "train": 0, "validation": 0, "pool": 8, "scores_only": "", "skipped": 0, "superseded": 0, "watermark": "2026-11-30T03:12:20.157729Z", "problems": [], "seconds": 0.046}',1.79600834038383579257e+09);
INSERT INTO "steps" VALUES(1,'embedded','{"strategy": "random", "seconds": 0.0}',1.79600834038961672785e+09);
INSERT INTO "steps" VALUES(1,'selected','{"version": "taudis-0001-6b0ce994", "tasks": 8, "strategy": "random", "warnings": [], "hint": "", "diagnostics": {}, "seconds": 0.106}',1.79600834049665594098e+09);
INSERT INTO "steps" VALUES(1,'published','{"version": "taudis-0001-6b0ce994", "tasks": 8, "filled": 8, "seconds": 0.02}',1.79600834051799345021e+09);
INSERT INTO "steps" VALUES(1,'flipped','{"version": "taudis-0001-6b0ce994", "flipped": true, "why": "", "seconds": 0.022}',1.79600834054099369047e+09);
INSERT INTO "steps" VALUES(1,'pruned','{"versions": [], "seconds": 0.006}',1.79600834054777026178e+09);
INSERT INTO "steps" VALUES(2,'synced','{"labelled": 5, "train": 4, "validation": 1, "pool": 3, "scores_only": "", "skipped": 0, "superseded": 0, "watermark": "2026-11-30T03:12:20.588766Z", "problems": [], "seconds": 0.048}',1.79600834069389867775e+09);
INSERT INTO "steps" VALUES(2,'trained','{"version": "taudis-0002-6b0ce994", "images": 4, "start": "", "started_from": "", "mean_instances": 2.0, "recipe": "cpu", "left_out": {"tasks": 0, "lost": 0, "kinds": {}, "first": [], "train": 4, "validation": 1, "round": 0}, "seconds": 1.087}',1.79600834178116345405e+09);
INSERT INTO "steps" VALUES(2,'evaluated','{"version": "taudis-0002-6b0ce994", "metrics": {"map50": 0.0, "map": 0.0, "per_label": {"square": 0.0, "bar": 0.0}, "interval": [0.0, 0.0], "images": 1, "instances": 2, "confusion": [[0, 7, 27], [1, 0, 0], [1, 0, 0]]}, "score_thresholds": {"square": 0.1508, "bar": 0.1508}, "correction": {"corrected": 6.000000000000001, "by_hand": 2.0}, "serve": true, "reason": "served: there is no model before it for these labels", "seconds": 0.395}',1.79600834217808103562e+09);
INSERT INTO "steps" VALUES(2,'scored','{"model": "taudis-0002-6b0ce994", "stand_in": "", "images": 3, "instances": 300, "unreadable": 0, "left_out": {"tasks": 0, "lost": 0, "kinds": {}, "first": [], "train": 0, "validation": 0, "round": 0}, "seconds": 0.527}',1.7960083427062497139e+09);
INSERT INTO "steps" VALUES(2,'selected','{"version": "taudis-0002-6b0ce994", "tasks": 3, "strategy": "taudis", "warnings": [], "hint": "", "diagnostics": {"sigma": 0.8, "sigma_eff": 0.8826789259910583, "density": 0.2248888888888889, "sketch_columns": null, "alpha": 5.0, "beta": 3.0, "uncertainty": "se", "remainder": "layers", "instances": 300, "candidates": 15, "images_with_candidates": 3, "chosen": 9, "coverage": 0.9866666666666667, "coverable": 0.99, "saturation_pick": null, "images_with_votes": 3}, "seconds": 0.029}',1.79600834273685598368e+09);
INSERT INTO "steps" VALUES(2,'published','{"version": "taudis-0002-6b0ce994", "tasks": 3, "filled": 3, "seconds": 0.015}',1.79600834275368523599e+09);
INSERT INTO "steps" VALUES(2,'flipped','{"version": "taudis-0002-6b0ce994", "flipped": true, "why": "", "seconds": 0.022}',1.79600834277644085881e+09);
INSERT INTO "steps" VALUES(2,'pruned','{"versions": [], "seconds": 0.007}',1.79600834278410363201e+09);
INSERT INTO "steps" VALUES(2,'compared','{"seconds": 0.0}',1.79600834278506374351e+09);
CREATE TABLE versions (
	project INTEGER NOT NULL, 
	version TEXT NOT NULL, 
	round INTEGER NOT NULL, 
	model TEXT NOT NULL, 
	tasks INTEGER NOT NULL, 
	metrics TEXT NOT NULL, 
	created FLOAT NOT NULL, 
	pruned FLOAT, 
	PRIMARY KEY (project, version)
);
INSERT INTO "versions" VALUES(1,'taudis-0001-6b0ce994',1,'',8,'{}',1.79600834051741528509e+09,NULL);
INSERT INTO "versions" VALUES(1,'taudis-0002-6b0ce994',2,'taudis-0002-6b0ce994',3,'{"map50": 0.0, "map": 0.0, "per_label": {"square": 0.0, "bar": 0.0}, "interval": [0.0, 0.0], "images": 1, "instances": 2, "confusion": [[0, 7, 27], [1, 0, 0], [1, 0, 0]]}',1.79600834275338983535e+09,NULL);
INSERT INTO "versions" VALUES(1,'taudis-0000-kept',3,'taudis-0000-kept',8,'{}',1.79600834288472461707e+09,NULL);
CREATE INDEX ix_rounds_project ON rounds (project);
CREATE UNIQUE INDEX one_open_round ON rounds (project) WHERE ended IS NULL;
CREATE TRIGGER seal_about_insert AFTER INSERT ON about BEGIN UPDATE seals SET total = (total + taudis_seal(NEW."key", NEW."value")) & 9007199254740991 WHERE name = 'about'; END;
CREATE TRIGGER seal_about_delete AFTER DELETE ON about BEGIN UPDATE seals SET total = (total - taudis_seal(OLD."key", OLD."value")) & 9007199254740991 WHERE name = 'about'; END;
CREATE TRIGGER seal_about_update AFTER UPDATE ON about BEGIN UPDATE seals SET total = (total + taudis_seal(NEW."key", NEW."value") - taudis_seal(OLD."key", OLD."value")) & 9007199254740991 WHERE name = 'about'; END;
CREATE TRIGGER seal_control_arms_insert AFTER INSERT ON control_arms BEGIN UPDATE seals SET total = (total + taudis_seal(NEW."project", NEW."task", NEW."draw", NEW."arm")) & 9007199254740991 WHERE name = 'control_arms'; END;
CREATE TRIGGER seal_control_arms_delete AFTER DELETE ON control_arms BEGIN UPDATE seals SET total = (total - taudis_seal(OLD."project", OLD."task", OLD."draw", OLD."arm")) & 9007199254740991 WHERE name = 'control_arms'; END;
CREATE TRIGGER seal_control_arms_update AFTER UPDATE ON control_arms BEGIN UPDATE seals SET total = (total + taudis_seal(NEW."project", NEW."task", NEW."draw", NEW."arm") - taudis_seal(OLD."project", OLD."task", OLD."draw", OLD."arm")) & 9007199254740991 WHERE name = 'control_arms'; END;
CREATE TRIGGER seal_control_comparisons_insert AFTER INSERT ON control_comparisons BEGIN UPDATE seals SET total = (total + taudis_seal(NEW."project", NEW."round", NEW."draw", NEW."result")) & 9007199254740991 WHERE name = 'control_comparisons'; END;
CREATE TRIGGER seal_control_comparisons_delete AFTER DELETE ON control_comparisons BEGIN UPDATE seals SET total = (total - taudis_seal(OLD."project", OLD."round", OLD."draw", OLD."result")) & 9007199254740991 WHERE name = 'control_comparisons'; END;
CREATE TRIGGER seal_control_comparisons_update AFTER UPDATE ON control_comparisons BEGIN UPDATE seals SET total = (total + taudis_seal(NEW."project", NEW."round", NEW."draw", NEW."result") - taudis_seal(OLD."project", OLD."round", OLD."draw", OLD."result")) & 9007199254740991 WHERE name = 'control_comparisons'; END;
CREATE TRIGGER seal_events_insert AFTER INSERT ON events BEGIN UPDATE seals SET total = (total + taudis_seal(NEW."project", NEW."kind", NEW."recorded", NEW."acknowledged", NEW."since")) & 9007199254740991 WHERE name = 'events'; END;
CREATE TRIGGER seal_events_delete AFTER DELETE ON events BEGIN UPDATE seals SET total = (total - taudis_seal(OLD."project", OLD."kind", OLD."recorded", OLD."acknowledged", OLD."since")) & 9007199254740991 WHERE name = 'events'; END;
CREATE TRIGGER seal_events_update AFTER UPDATE ON events BEGIN UPDATE seals SET total = (total + taudis_seal(NEW."project", NEW."kind", NEW."recorded", NEW."acknowledged", NEW."since") - taudis_seal(OLD."project", OLD."kind", OLD."recorded", OLD."acknowledged", OLD."since")) & 9007199254740991 WHERE name = 'events'; END;
CREATE TRIGGER seal_lease_insert AFTER INSERT ON lease BEGIN UPDATE seals SET total = (total + taudis_seal(NEW."name", NEW."owner", NEW."token", NEW."until")) & 9007199254740991 WHERE name = 'lease'; END;
CREATE TRIGGER seal_lease_delete AFTER DELETE ON lease BEGIN UPDATE seals SET total = (total - taudis_seal(OLD."name", OLD."owner", OLD."token", OLD."until")) & 9007199254740991 WHERE name = 'lease'; END;
CREATE TRIGGER seal_lease_update AFTER UPDATE ON lease BEGIN UPDATE seals SET total = (total + taudis_seal(NEW."name", NEW."owner", NEW."token", NEW."until") - taudis_seal(OLD."name", OLD."owner", OLD."token", OLD."until")) & 9007199254740991 WHERE name = 'lease'; END;
CREATE TRIGGER seal_live_annotations_insert AFTER INSERT ON live_annotations BEGIN UPDATE seals SET total = (total + taudis_seal(NEW."project", NEW."annotation", NEW."task", NEW."updated_at", NEW."kind", NEW."version", NEW."annotator", NEW."lead_time", NEW."counts", NEW."outdated", NEW."written")) & 9007199254740991 WHERE name = 'live_annotations'; END;
CREATE TRIGGER seal_live_annotations_delete AFTER DELETE ON live_annotations BEGIN UPDATE seals SET total = (total - taudis_seal(OLD."project", OLD."annotation", OLD."task", OLD."updated_at", OLD."kind", OLD."version", OLD."annotator", OLD."lead_time", OLD."counts", OLD."outdated", OLD."written")) & 9007199254740991 WHERE name = 'live_annotations'; END;
CREATE TRIGGER seal_live_annotations_update AFTER UPDATE ON live_annotations BEGIN UPDATE seals SET total = (total + taudis_seal(NEW."project", NEW."annotation", NEW."task", NEW."updated_at", NEW."kind", NEW."version", NEW."annotator", NEW."lead_time", NEW."counts", NEW."outdated", NEW."written") - taudis_seal(OLD."project", OLD."annotation", OLD."task", OLD."updated_at", OLD."kind", OLD."version", OLD."annotator", OLD."lead_time", OLD."counts", OLD."outdated", OLD."written")) & 9007199254740991 WHERE name = 'live_annotations'; END;
CREATE TRIGGER seal_projects_insert AFTER INSERT ON projects BEGIN UPDATE seals SET total = (total + taudis_seal(NEW."id", NEW."origin", NEW."state")) & 9007199254740991 WHERE name = 'projects'; END;
CREATE TRIGGER seal_projects_delete AFTER DELETE ON projects BEGIN UPDATE seals SET total = (total - taudis_seal(OLD."id", OLD."origin", OLD."state")) & 9007199254740991 WHERE name = 'projects'; END;
CREATE TRIGGER seal_projects_update AFTER UPDATE ON projects BEGIN UPDATE seals SET total = (total + taudis_seal(NEW."id", NEW."origin", NEW."state") - taudis_seal(OLD."id", OLD."origin", OLD."state")) & 9007199254740991 WHERE name = 'projects'; END;
CREATE TRIGGER seal_rounds_insert AFTER INSERT ON rounds BEGIN UPDATE seals SET total = (total + taudis_seal(NEW."id", NEW."project", NEW."number", NEW."kind", NEW."reason", NEW."started", NEW."ended", NEW."outcome", NEW."message", NEW."progress")) & 9007199254740991 WHERE name = 'rounds'; END;
CREATE TRIGGER seal_rounds_delete AFTER DELETE ON rounds BEGIN UPDATE seals SET total = (total - taudis_seal(OLD."id", OLD."project", OLD."number", OLD."kind", OLD."reason", OLD."started", OLD."ended", OLD."outcome", OLD."message", OLD."progress")) & 9007199254740991 WHERE name = 'rounds'; END;
CREATE TRIGGER seal_rounds_update AFTER UPDATE ON rounds BEGIN UPDATE seals SET total = (total + taudis_seal(NEW."id", NEW."project", NEW."number", NEW."kind", NEW."reason", NEW."started", NEW."ended", NEW."outcome", NEW."message", NEW."progress") - taudis_seal(OLD."id", OLD."project", OLD."number", OLD."kind", OLD."reason", OLD."started", OLD."ended", OLD."outcome", OLD."message", OLD."progress")) & 9007199254740991 WHERE name = 'rounds'; END;
CREATE TRIGGER seal_steps_insert AFTER INSERT ON steps BEGIN UPDATE seals SET total = (total + taudis_seal(NEW."round", NEW."step", NEW."result", NEW."at")) & 9007199254740991 WHERE name = 'steps'; END;
CREATE TRIGGER seal_steps_delete AFTER DELETE ON steps BEGIN UPDATE seals SET total = (total - taudis_seal(OLD."round", OLD."step", OLD."result", OLD."at")) & 9007199254740991 WHERE name = 'steps'; END;
CREATE TRIGGER seal_steps_update AFTER UPDATE ON steps BEGIN UPDATE seals SET total = (total + taudis_seal(NEW."round", NEW."step", NEW."result", NEW."at") - taudis_seal(OLD."round", OLD."step", OLD."result", OLD."at")) & 9007199254740991 WHERE name = 'steps'; END;
CREATE TRIGGER seal_versions_insert AFTER INSERT ON versions BEGIN UPDATE seals SET total = (total + taudis_seal(NEW."project", NEW."version", NEW."round", NEW."model", NEW."tasks", NEW."metrics", NEW."created", NEW."pruned")) & 9007199254740991 WHERE name = 'versions'; END;
CREATE TRIGGER seal_versions_delete AFTER DELETE ON versions BEGIN UPDATE seals SET total = (total - taudis_seal(OLD."project", OLD."version", OLD."round", OLD."model", OLD."tasks", OLD."metrics", OLD."created", OLD."pruned")) & 9007199254740991 WHERE name = 'versions'; END;
CREATE TRIGGER seal_versions_update AFTER UPDATE ON versions BEGIN UPDATE seals SET total = (total + taudis_seal(NEW."project", NEW."version", NEW."round", NEW."model", NEW."tasks", NEW."metrics", NEW."created", NEW."pruned") - taudis_seal(OLD."project", OLD."version", OLD."round", OLD."model", OLD."tasks", OLD."metrics", OLD."created", OLD."pruned")) & 9007199254740991 WHERE name = 'versions'; END;
DELETE FROM "sqlite_sequence";
INSERT INTO "sqlite_sequence" VALUES('rounds',3);
COMMIT;
