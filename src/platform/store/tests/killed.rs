//! A process that is killed while it accepts and finishes jobs loses none.

use std::collections::BTreeSet;
use std::io::{BufRead, BufReader, Write};
use std::path::Path;
use std::process::{Command, Stdio};

use super::*;

const FOLDER: &str = "FLASH_TEST_STORE";

/// Accepts and finishes jobs, and says so once it is stored, until it is killed.
#[test]
#[ignore = "the process that is killed; started by the test below"]
fn victim() {
    let Some(folder) = std::env::var_os(FOLDER) else { return };
    let store = open(Path::new(&folder)).unwrap().store;
    let runtime = tokio::runtime::Builder::new_multi_thread().worker_threads(2).build().unwrap();
    runtime.block_on(async move {
        let mut tasks = Vec::new();
        for task in 0..6 {
            let store = std::sync::Arc::clone(&store);
            tasks.push(tokio::spawn(async move {
                let say = |what: &str, id: &str| {
                    let line = format!("{what} {id}\n");
                    std::io::stdout().lock().write_all(line.as_bytes()).unwrap();
                };
                for number in 0.. {
                    let id = format!("{}-{task}-{number}", std::process::id());
                    store.accept(record(&id, request("1"), seconds(5))).await.unwrap();
                    say("accepted", &id);
                    if number % 3 == 0 {
                        continue;
                    }
                    store.change("f", &id, started(), seconds(6)).unwrap();
                    if number % 3 == 1 {
                        continue;
                    }
                    let output = Bytes::from(id.clone());
                    store.change("f", &id, Change::Completed(output), seconds(7)).unwrap();
                    store.settled().await;
                    say("finished", &id);
                }
            }));
        }
        for task in tasks {
            task.await.unwrap();
        }
    });
}

#[test]
fn killed_process_has_every_accepted_job_once() {
    let folder = tempfile::tempdir().unwrap();
    let (mut accepted, mut finished) = (BTreeSet::new(), BTreeSet::new());
    // Prime, so that the kills fall on different places of the batches.
    for lines in [1, 97, 331, 613, 41] {
        let mut victim = Command::new(std::env::current_exe().unwrap())
            .args(["platform::store::tests::killed::victim", "--exact", "--ignored", "--nocapture"])
            .env(FOLDER, folder.path())
            .stdout(Stdio::piped())
            .spawn()
            .unwrap();
        let mut read = BufReader::new(victim.stdout.take().unwrap()).lines();
        let mut note = |line: &str| {
            let is_ours = match line.split_once(' ') {
                Some(("accepted", id)) => accepted.insert(id.to_owned()),
                Some(("finished", id)) => finished.insert(id.to_owned()),
                _ => false,
            };
            usize::from(is_ours)
        };
        let mut seen = 0;
        while seen < lines {
            seen += note(&read.next().unwrap().unwrap());
        }
        victim.kill().unwrap();
        victim.wait().unwrap();
        for line in read.map_while(Result::ok) {
            note(&line);
        }
        let store = open(folder.path()).unwrap().store;
        let jobs = store.recent("f", usize::MAX).unwrap();
        let ids: BTreeSet<&String> = jobs.iter().map(|job| &job.id).collect();
        assert_eq!(ids.len(), jobs.len(), "a job is there twice");
        for id in &accepted {
            assert!(ids.contains(id), "{id} was lost");
        }
        for id in &finished {
            let job = store.look("f", id).unwrap().unwrap();
            assert_eq!((job.status, job.output.as_deref()), (JobStatus::Completed, Some(id.as_bytes())));
        }
        let waits = jobs.iter().filter(|job| job.status == JobStatus::InQueue).count();
        assert_eq!(store.depth("f").all, waits);
        assert_eq!(store.waiting("f", usize::MAX).unwrap().len(), waits);
        assert!(jobs.iter().all(|job| job.status != JobStatus::InProgress && job.retries <= 1));
        let completed = jobs.iter().filter(|job| job.status == JobStatus::Completed).count();
        assert_eq!(store.counts("f").completed, u64::try_from(completed).unwrap());
    }
    assert!(finished.len() > 100, "{}", finished.len());
}
