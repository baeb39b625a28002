//! Whom steps run as. `/etc/passwd` and `/etc/group` are read by hand: a static program that asks the C
//! library would load modules of whatever image it is in.

use std::fs;

use capstan_sys::Ids;

/// A user of this system.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct User {
    /// Name, or the number when there is none.
    pub(crate) name: String,
    /// Ids.
    pub(crate) ids: Ids,
    /// Home directory.
    pub(crate) home: String,
}

/// Finds a user as an image or a config names it: `name`, `name:group`, `1000` or `1000:1000`.
pub(crate) fn find(wanted: &str) -> Result<User, String> {
    let passwd = fs::read_to_string("/etc/passwd").unwrap_or_default();
    let group = fs::read_to_string("/etc/group").unwrap_or_default();
    find_in(wanted, &passwd, &group)
}

fn find_in(wanted: &str, passwd: &str, group: &str) -> Result<User, String> {
    let (name, wanted_group) = match wanted.split_once(':') {
        Some((name, group)) => (name, Some(group)),
        None => (wanted, None),
    };
    let row = passwd
        .lines()
        .map(|line| line.split(':').collect::<Vec<_>>())
        .find(|row| row.len() >= 6 && (row[0] == name || row[2] == name));
    let (login, uid, gid, home) = match row {
        Some(row) => {
            let number = |text: &str| {
                text.parse()
                    .map_err(|_| format!("user {name} has no number"))
            };
            (
                row[0].to_owned(),
                number(row[2])?,
                number(row[3])?,
                row[5].to_owned(),
            )
        }
        // A number needs no entry; its home is the root directory, as Docker has it.
        None => match name.parse() {
            Ok(uid) => (name.to_owned(), uid, 0, String::from("/")),
            Err(_) => return Err(format!("user {name} is not in /etc/passwd of the image")),
        },
    };
    let gid = match wanted_group {
        None => gid,
        Some(wanted) => find_group(wanted, group)
            .ok_or_else(|| format!("group {wanted} is not in /etc/group of the image"))?,
    };
    let mut groups = vec![gid];
    for row in group
        .lines()
        .map(|line| line.split(':').collect::<Vec<_>>())
    {
        let member = row.len() >= 4 && row[3].split(',').any(|member| member == login);
        if let (true, Some(Ok(number))) = (member, row.get(2).map(|text| text.parse::<u32>()))
            && !groups.contains(&number)
        {
            groups.push(number);
        }
    }
    Ok(User {
        name: login,
        ids: Ids { uid, gid, groups },
        home,
    })
}

fn find_group(wanted: &str, group: &str) -> Option<u32> {
    let row = group
        .lines()
        .map(|line| line.split(':').collect::<Vec<_>>())
        .find(|row| row.len() >= 3 && (row[0] == wanted || row[2] == wanted));
    match row {
        Some(row) => row[2].parse().ok(),
        None => wanted.parse().ok(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const PASSWD: &str =
        "root:x:0:0:root:/root:/bin/bash\nci:x:3434:3435::/home/ci:/bin/sh\nbroken\n";
    const GROUP: &str = "root:x:0:\nci:x:3435:\ndocker:x:999:ci,other\n";

    #[test]
    fn users_are_found_by_name_and_number() {
        let ci = find_in("ci", PASSWD, GROUP).unwrap();
        assert_eq!(
            (ci.ids.uid, ci.ids.gid, ci.home.as_str()),
            (3434, 3435, "/home/ci")
        );
        assert_eq!(ci.ids.groups, [3435, 999]);
        assert_eq!(find_in("3434", PASSWD, GROUP).unwrap(), ci);
        assert_eq!(find_in("ci:docker", PASSWD, GROUP).unwrap().ids.gid, 999);
    }

    #[test]
    fn a_number_needs_no_entry_and_a_name_does() {
        let user = find_in("1234:55", PASSWD, GROUP).unwrap();
        assert_eq!(
            (user.ids.uid, user.ids.gid, user.home.as_str()),
            (1234, 55, "/")
        );
        assert!(
            find_in("nobody-here", PASSWD, GROUP)
                .unwrap_err()
                .contains("/etc/passwd")
        );
    }
}
