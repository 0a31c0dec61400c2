//! What tuning found: for a kernel on a target, a schedule and what it was measured to take.
//!
//! A file of records has one a line, as JSON, in the order of their keys: files can be joined, compared and merged by
//! line. A record only ever says how; a wrong one is refused ([`Schedule::check`]), and the default stands.

use std::collections::{BTreeMap, btree_map::Entry};

use serde::{Deserialize, Serialize};
use sha2::{Digest, Sha256};
use targets::Target;

use crate::Schedule;
use crate::workload::hexadecimal;

/// Of what schedules say and how loops are written by them: records of another version are stale.
pub const VERSION: u32 = 1;

/// What a file holds of one kernel.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Record {
    /// [`crate::Workload::key`].
    pub kernel: String,
    /// [`crate::Workload::about`], for people.
    pub about: String,
    pub target: TargetKey,
    /// [`VERSION`] of the compiler that wrote it.
    pub version: u32,
    /// That the library may use.
    pub threads: usize,
    pub schedule: Schedule,
    pub cost: Cost,
    /// The machine or emulator: only what was measured in one place is compared.
    pub measured: String,
}

/// A machine to compile for, as far as schedules know it.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct TargetKey {
    /// For people.
    pub name: String,
    /// SHA-256, in hexadecimal, of what the description says of the machine: not what it is called, how it is run, or
    /// what things are thought to take.
    pub hash: String,
}

impl TargetKey {
    pub fn of(target: &Target) -> TargetKey {
        let others = ["name", "description", "runner", "costs", "scheduling_model"];
        let description = serde_json::to_value(target).unwrap_or_default();
        // In the order of their names, whatever order the description has them in.
        let facts: BTreeMap<&String, &serde_json::Value> = description
            .as_object()
            .into_iter()
            .flatten()
            .filter(|(name, _)| !others.contains(&name.as_str()))
            .collect();
        let facts = serde_json::to_string(&facts).unwrap_or_default();
        let hash = hexadecimal(&Sha256::digest(facts.as_bytes()));
        TargetKey { name: target.name.clone(), hash }
    }
}

/// What one run takes.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Cost {
    /// `ns`, `instructions` or `cycles`.
    pub unit: String,
    /// By the default schedule and by the record's, measured side by side.
    pub default: f64,
    pub best: f64,
}

/// A line that is no record.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct RecordError {
    /// From 1 on.
    pub line: usize,
    pub message: String,
}

impl std::fmt::Display for RecordError {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "line {} is no record: {}", self.line, self.message)
    }
}

impl std::error::Error for RecordError {}

type Key = (TargetKey, u32, usize, String);

impl Record {
    fn key(&self) -> Key {
        (self.target.clone(), self.version, self.threads, self.kernel.clone())
    }
}

/// Reads a file's text. Records of another version may say what this one does not know: they are kept as no more
/// than their number.
pub fn parse(text: &str) -> Result<(Vec<Record>, usize), RecordError> {
    #[derive(Deserialize)]
    struct Versioned {
        version: u32,
    }
    let (mut records, mut stale) = (Vec::new(), 0);
    for (number, line) in text.lines().enumerate().filter(|(_, line)| !line.trim().is_empty()) {
        let wrong = |message: String| RecordError { line: number + 1, message };
        match serde_json::from_str::<Versioned>(line) {
            Ok(Versioned { version }) if version != VERSION => stale += 1,
            Ok(_) => {
                let record: Record = serde_json::from_str(line).map_err(|error| wrong(error.to_string()))?;
                let measured = |cost: f64| cost.is_finite() && cost > 0.0;
                if !measured(record.cost.default) || !measured(record.cost.best) {
                    return Err(wrong("its costs are not positive numbers".to_owned()));
                }
                records.push(record);
            }
            Err(error) => return Err(wrong(error.to_string())),
        }
    }
    Ok((records, stale))
}

/// A file's text: one record a line, in the order of their keys.
pub fn print(records: &[Record]) -> String {
    let mut sorted: Vec<&Record> = records.iter().collect();
    sorted.sort_by_cached_key(|record| record.key());
    // Plain data always serialises.
    sorted.into_iter().map(|record| serde_json::to_string(record).unwrap_or_default() + "\n").collect()
}

/// What became of several files.
#[derive(Debug, Clone, PartialEq)]
pub struct Merged {
    pub records: Vec<Record>,
    /// Records that were measured elsewhere than an earlier one of the same kernel and target, which stands.
    pub incomparable: usize,
}

/// The best of each kernel and target. Where two were not measured in the same place, the earlier one stands.
pub fn merge(records: impl IntoIterator<Item = Record>) -> Merged {
    let mut best: BTreeMap<Key, Record> = BTreeMap::new();
    let mut incomparable = 0;
    for record in records {
        match best.entry(record.key()) {
            Entry::Vacant(free) => {
                free.insert(record);
            }
            Entry::Occupied(mut known) => {
                let held = known.get();
                if (&held.measured, &held.cost.unit) != (&record.measured, &record.cost.unit) {
                    incomparable += 1;
                } else if record.cost.best < held.cost.best {
                    known.insert(record);
                }
            }
        }
    }
    Merged { records: best.into_values().collect(), incomparable }
}

/// The schedules that are known for a target.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Records {
    schedules: BTreeMap<String, Schedule>,
    /// Records that are not for the target.
    pub foreign: usize,
}

impl Records {
    pub const NONE: Records = Records { schedules: BTreeMap::new(), foreign: 0 };

    /// Of several records of one kernel the last stands.
    pub fn for_target(records: impl IntoIterator<Item = Record>, target: &Target) -> Records {
        let own = TargetKey::of(target);
        let mut known = Records::default();
        for record in records {
            if record.target.hash != own.hash || record.version != VERSION {
                known.foreign += 1;
            } else if record.threads == target.threads {
                known.insert(record.kernel, record.schedule);
            }
        }
        known
    }

    /// Takes in those of `others`, which stand before its own.
    pub fn extend(&mut self, others: Records) {
        self.schedules.extend(others.schedules);
        self.foreign += others.foreign;
    }

    pub fn insert(&mut self, kernel: String, schedule: Schedule) {
        self.schedules.insert(kernel, schedule);
    }

    pub fn is_empty(&self) -> bool {
        self.schedules.is_empty()
    }

    pub fn schedule(&self, kernel: &str) -> Option<&Schedule> {
        self.schedules.get(kernel)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn record(kernel: &str, best: f64, measured: &str) -> Record {
        Record {
            kernel: kernel.to_owned(),
            about: "relu: f32 8".to_owned(),
            target: TargetKey { name: "t".to_owned(), hash: "00".to_owned() },
            version: VERSION,
            threads: 1,
            schedule: Schedule::plain(),
            cost: Cost { unit: "ns".to_owned(), default: 10.0, best },
            measured: measured.to_owned(),
        }
    }

    #[test]
    fn records_that_come_with_the_compiler_are_for_its_targets() {
        let mut shipped = 0;
        for name in Target::names() {
            let target = Target::preset(name).unwrap();
            let (records, stale) = parse(target.records()).unwrap();
            shipped += records.len();
            assert_eq!((stale, Records::for_target(records, &target).foreign), (0, 0), "{name}");
        }
        assert!(shipped > 0);
    }

    #[test]
    fn what_is_printed_is_read_in_order() {
        let records = [record("b", 9.0, "here"), record("a", 8.5, "here")];
        let text = print(&records);
        assert_eq!(parse(&text), Ok((vec![records[1].clone(), records[0].clone()], 0)));
        assert_eq!(print(&parse(&text).unwrap().0), text);
    }

    #[test]
    fn other_versions_are_counted_and_broken_lines_refused() {
        let text = print(&[record("a", 9.0, "here")]);
        let stale = text.replace("\"version\":1", "\"version\":0,\"unheard\":true");
        assert_eq!(
            parse(&format!("{stale}\n{text}")).map(|(records, stale)| (records.len(), stale)),
            Ok((1, 1))
        );
        for (broken, about) in [
            (text.replace("\"lanes\"", "\"lans\""), "unknown field"),
            (text.replace("9.0", "-9.0"), "positive"),
            (text.replace('}', ""), "EOF"),
            ("[]".to_owned(), "invalid"),
        ] {
            let error = parse(&broken).unwrap_err();
            assert!(error.message.contains(about) && error.line == 1, "{error}");
        }
    }

    #[test]
    fn the_best_of_one_place_stands() {
        let (a, better, elsewhere) =
            (record("a", 9.0, "here"), record("a", 7.0, "here"), record("a", 1.0, "there"));
        let merged = merge([a.clone(), elsewhere.clone(), better.clone()]);
        assert_eq!(merged, Merged { records: vec![better.clone()], incomparable: 1 });
        assert_eq!(merge([better.clone(), a]).records, [better]);
        assert_eq!(merge([elsewhere.clone()]).records, [elsewhere]);
    }

    #[test]
    fn a_target_is_its_machine() {
        let target = Target::preset("cortex-a53").unwrap();
        let renamed = Target { name: "mine".to_owned(), runner: None, ..target.clone() };
        assert_eq!(TargetKey::of(&target).hash, TargetKey::of(&renamed).hash);
        let other = Target { features: "+neon".to_owned(), ..target.clone() };
        assert_ne!(TargetKey::of(&target).hash, TargetKey::of(&other).hash);
        let own = Record { target: TargetKey::of(&target), ..record("a", 9.0, "here") };
        let records = Records::for_target([own.clone(), record("b", 9.0, "here")], &target);
        assert_eq!((records.schedule("a"), records.foreign), (Some(&own.schedule), 1));
        assert!(Records::for_target([own], &Target { threads: 2, ..target }).is_empty());
    }
}
