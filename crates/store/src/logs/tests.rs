use super::*;

fn task() -> TaskId {
    TaskId {
        job: capstan_model::JobId(uuid::Uuid::new_v4()),
        node: 0,
        attempt: 1,
    }
}

#[test]
fn a_chunk_may_come_twice_and_a_gap_is_refused() {
    let dir = tempfile::tempdir().unwrap();
    let logs = Logs::new(dir.path().join("logs"));
    let task = task();
    assert_eq!(logs.append(task, 101, 0, b"hello\n").unwrap(), 0..6);
    assert_eq!(logs.append(task, 101, 0, b"hello\n").unwrap(), 6..6);
    assert_eq!(logs.append(task, 101, 3, b"lo\nworld").unwrap(), 6..11);
    assert!(matches!(
        logs.append(task, 101, 12, b"x"),
        Err(StoreError::LogGap {
            stored: 11,
            offset: 12,
            ..
        })
    ));
    assert_eq!(logs.read(task, 101, 0, 100).unwrap(), b"hello\nworld");
    assert_eq!(logs.read(task, 101, 6, 3).unwrap(), b"wor");
    assert_eq!(logs.read(task, 101, 99, 3).unwrap(), b"");
    assert_eq!(logs.line_count(task, 101).unwrap(), 2);
    assert_eq!(logs.line_count(task, 102).unwrap(), 0);
}

#[test]
fn lines_are_found_across_blocks_and_after_a_crash() {
    let dir = tempfile::tempdir().unwrap();
    let root = dir.path().join("logs");
    let task = task();
    let mut whole = Vec::new();
    // Lines of every length, one longer than a block.
    for n in 0..6000_usize {
        whole.extend(std::iter::repeat_n(b'a', n % 97));
        if n == 3000 {
            whole.extend(std::iter::repeat_n(b'b', 200_000));
        }
        whole.push(b'\n');
    }
    whole.extend(b"unfinished");
    let logs = Logs::new(root.clone());
    for (n, part) in whole.chunks(10_007).enumerate() {
        logs.append(task, 7, (n * 10_007) as u64, part).unwrap();
    }
    let expected: Vec<&[u8]> = whole.split_inclusive(|byte| *byte == b'\n').collect();
    let check = |logs: &Logs| {
        assert_eq!(logs.line_count(task, 7).unwrap(), expected.len() as u64);
        for from in [0, 1, 2, 1000, 2999, 3000, 3001, 5999, 6000, 6001] {
            let lines = logs.lines(task, 7, from as u64, 3, usize::MAX).unwrap();
            let wanted: Vec<u8> = expected
                .iter()
                .skip(from)
                .take(3)
                .flat_map(|line| line.iter().copied())
                .collect();
            assert_eq!(lines.bytes, wanted, "from line {from}");
        }
    };
    check(&logs);
    check(&Logs::new(root.clone()));
    // The index is a cache: cut short or gone, it is made again.
    let index = root.join(format!("{task}.7.idx"));
    OpenOptions::new()
        .write(true)
        .open(&index)
        .unwrap()
        .set_len(16)
        .unwrap();
    check(&Logs::new(root.clone()));
    fs::remove_file(&index).unwrap();
    check(&Logs::new(root));
}

#[test]
fn few_files_stay_open_and_none_is_forgotten() {
    let dir = tempfile::tempdir().unwrap();
    let logs = Logs::new(dir.path().join("logs"));
    let task = task();
    for round in 0..2_u64 {
        for step in 0..200 {
            assert_eq!(
                logs.append(task, step, round, b"x").unwrap(),
                round..round + 1
            );
        }
    }
    assert!(lock(&logs.open).files.len() <= OPEN_MAX);
}
