/* The tree of commands. What is_absent is etcdctl's too, and not built here yet: it is listed as
 * such and refuses itself. */
#include "ctl/utl_priv.h"

static const char *const consistencies[] = {"l", "s", NULL};
static const char *const shells[] = {"bash", "zsh", "fish", "powershell", NULL};

#define CHILDREN(list) .children = (list), .child_count = ARRAY_LEN(list)
#define FLAGS(list) .flags = (list), .flag_count = ARRAY_LEN(list)
#define ABSENT .is_absent = true

/* ---- groups ---------------------------------------------------------------------------- */

static const struct command alarm_commands[] = {
    {.name = "disarm",
     .use = "disarm",
     .summary = "Lifts every alarm",
     .run = ctl__alarm_disarm_run},
    {.name = "list",
     .use = "list",
     .summary = "Lists the alarms that are raised",
     .run = ctl__alarm_list_run},
};

static const struct command auth_commands[] = {
    {.name = "disable", .use = "disable", .summary = "Turns authentication off", ABSENT},
    {.name = "enable", .use = "enable", .summary = "Turns authentication on", ABSENT},
    {.name = "status", .use = "status", .summary = "Says whether authentication is on", ABSENT},
};

static const char *const check_loads[] = {"s", "m", "l", "xl", NULL};
static const struct pflag_spec perf_flags[] = {
    {"auto-compact", 0, PFLAG_BOOL, "false", "compact when the check is over", NULL},
    {"auto-defrag", 0, PFLAG_BOOL, "false", "defragment when the check is over", NULL},
    {"load", 0, PFLAG_STRING, "s", "how much to write: s, m, l or xl", check_loads},
    {"prefix", 0, PFLAG_STRING, "/etcdctl-check-perf/", "text in front of every key", NULL},
};
static const struct pflag_spec datascale_flags[] = {
    {"auto-compact", 0, PFLAG_BOOL, "false", "compact when the check is over", NULL},
    {"auto-defrag", 0, PFLAG_BOOL, "false", "defragment when the check is over", NULL},
    {"load", 0, PFLAG_STRING, "s", "how much to write: s, m, l or xl", check_loads},
    {"prefix", 0, PFLAG_STRING, "/etcdctl-check-datascale/", "text in front of every key", NULL},
};
static const struct command check_commands[] = {
    {.name = "datascale",
     .use = "datascale [options]",
     .summary = "Measures the memory that data takes in a server",
     FLAGS(datascale_flags),
     .run = ctl__check_datascale_run},
    {.name = "perf",
     .use = "perf [options]",
     .summary = "Measures how fast the cluster writes",
     FLAGS(perf_flags),
     .run = ctl__check_perf_run},
};

static const struct command downgrade_commands[] = {
    {.name = "cancel", .use = "cancel", .summary = "Calls a downgrade off", ABSENT},
    {.name = "enable",
     .use = "enable <TARGET_VERSION>",
     .summary = "Lets the cluster go down to a version",
     ABSENT},
    {.name = "validate",
     .use = "validate <TARGET_VERSION>",
     .summary = "Says whether the cluster could go down to a version",
     ABSENT},
};

static const struct pflag_spec endpoint_shared[] = {
    {"cluster", 0, PFLAG_BOOL, "false", "ask every member of the cluster instead", NULL},
};
static const struct pflag_spec hashkv_flags[] = {
    {"rev", 0, PFLAG_INT64, "0", "hash the store up to this revision (0: all of it)", NULL},
};
static const struct command endpoint_commands[] = {
    {.name = "hashkv",
     .use = "hashkv",
     .summary = "Prints a hash of the keys' history for each endpoint",
     FLAGS(hashkv_flags),
     .run = ctl__hashkv_run},
    {.name = "health",
     .use = "health",
     .summary = "Checks that each endpoint serves",
     .run = ctl__health_run},
    {.name = "status",
     .use = "status",
     .summary = "Prints the state of each endpoint",
     .long_text =
         "The simple format prints, with commas between them: endpoint, ID, version, storage "
         "version,\ndb size, in use, percentage not in use, quota, is leader, is learner, raft "
         "term, raft index,\nraft applied index, errors, downgrade target version, downgrade "
         "enabled.",
     .run = ctl__status_run},
};

static const struct pflag_spec keep_alive_flags[] = {
    {"once", 0, PFLAG_BOOL, "false", "renew it once and exit", NULL},
};
static const struct pflag_spec time_to_live_flags[] = {
    {"keys", 0, PFLAG_BOOL, "false", "print the keys that hang on it, too", NULL},
};
static const struct command lease_commands[] = {
    {.name = "grant",
     .use = "grant <ttl>",
     .summary = "Makes a lease",
     .run = ctl__lease_grant_run},
    {.name = "keep-alive",
     .use = "keep-alive [options] <leaseID>",
     .summary = "Renews a lease again and again",
     FLAGS(keep_alive_flags),
     .run = ctl__lease_keep_alive_run},
    {.name = "list", .use = "list", .summary = "Lists the leases", .run = ctl__lease_list_run},
    {.name = "revoke",
     .use = "revoke <leaseID>",
     .summary = "Ends a lease",
     .run = ctl__lease_revoke_run},
    {.name = "timetolive",
     .use = "timetolive <leaseID> [options]",
     .summary = "Prints how long a lease has left",
     FLAGS(time_to_live_flags),
     .run = ctl__lease_time_run},
};

static const struct pflag_spec member_list_flags[] = {
    {"consistency", 0, PFLAG_STRING, "l", "l: linearizable, s: serializable (this member's view)",
     consistencies},
};
static const struct command member_commands[] = {
    {.name = "add", .use = "add <memberName> [options]", .summary = "Adds a member", ABSENT},
    {.name = "list",
     .use = "list",
     .summary = "Lists the members",
     .long_text = "The simple format prints, with commas between them: ID, Status, Name, Peer "
                  "Addrs, Client Addrs,\nIs Learner.",
     FLAGS(member_list_flags),
     .run = ctl__member_list_run},
    {.name = "promote",
     .use = "promote <memberID>",
     .summary = "Makes a learner a voting member",
     ABSENT},
    {.name = "remove", .use = "remove <memberID>", .summary = "Removes a member", ABSENT},
    {.name = "update",
     .use = "update <memberID> [options]",
     .summary = "Changes the peer URLs of a member",
     ABSENT},
};

static const struct command role_commands[] = {
    {.name = "add", .use = "add <role name>", .summary = "Makes a role", ABSENT},
    {.name = "delete", .use = "delete <role name>", .summary = "Deletes a role", ABSENT},
    {.name = "get", .use = "get <role name>", .summary = "Prints what a role may do", ABSENT},
    {.name = "grant-permission",
     .use = "grant-permission [options] <role name> <permission type> <key> [endkey]",
     .summary = "Lets a role read or write keys",
     ABSENT},
    {.name = "list", .use = "list", .summary = "Lists the roles", ABSENT},
    {.name = "revoke-permission",
     .use = "revoke-permission <role name> <key> [endkey]",
     .summary = "Takes a permission from a role",
     ABSENT},
};

/* status and restore as until 3.5: the word is in too many scripts. */
static const struct command snapshot_commands[] = {
    {.name = "restore",
     .use = "restore <filename> [options]",
     .summary = "Makes the directory of a new member out of a snapshot (use etcdutl)",
     .flags = utl__restore_flags,
     .flag_count = UTL_RESTORE_FLAGS,
     .run = ctl__snapshot_restore_run},
    {.name = "save",
     .use = "save <filename>",
     .summary = "Writes the store of one member to a file",
     .run = ctl__snapshot_save_run},
    {.name = "status",
     .use = "status <filename>",
     .summary = "Prints what a snapshot holds (use etcdutl)",
     .long_text = "The simple format prints, with commas between them: hash, revision, total keys, "
                  "total size.",
     .run = ctl__snapshot_status_run},
};

static const struct command user_commands[] = {
    {.name = "add",
     .use = "add <user name or user:password> [options]",
     .summary = "Makes a user",
     ABSENT},
    {.name = "delete", .use = "delete <user name>", .summary = "Deletes a user", ABSENT},
    {.name = "get",
     .use = "get <user name> [options]",
     .summary = "Prints the roles of a user",
     ABSENT},
    {.name = "grant-role",
     .use = "grant-role <user name> <role name>",
     .summary = "Gives a role to a user",
     ABSENT},
    {.name = "list", .use = "list", .summary = "Lists the users", ABSENT},
    {.name = "passwd",
     .use = "passwd <user name> [options]",
     .summary = "Changes the password of a user",
     ABSENT},
    {.name = "revoke-role",
     .use = "revoke-role <user name> <role name>",
     .summary = "Takes a role from a user",
     ABSENT},
};

/* ---- the root -------------------------------------------------------------------------- */

static const struct pflag_spec compaction_flags[] = {
    {"physical", 0, PFLAG_BOOL, "false", "wait until the old revisions are gone from the disk",
     NULL},
};

static const struct pflag_spec defrag_flags[] = {
    {"cluster", 0, PFLAG_BOOL, "false", "defragment every member of the cluster", NULL},
};

static const struct pflag_spec txn_flags[] = {
    {"interactive", 'i', PFLAG_BOOL, "false", "prompt for each part of the transaction", NULL},
};

const struct pflag_spec ctl__watch_flags[CTL_WATCH_FLAGS] = {
    {"interactive", 'i', PFLAG_BOOL, "false", "read commands from standard input", NULL},
    {"prefix", 0, PFLAG_BOOL, "false", "watch all keys that start with the key", NULL},
    {"prev-kv", 0, PFLAG_BOOL, "false", "print also what was there before", NULL},
    {"progress-notify", 0, PFLAG_BOOL, "false",
     "print from time to time how far the watch is, when nothing happens", NULL},
    {"rev", 0, PFLAG_INT64, "0", "start at this revision (0: now)", NULL},
};

static const struct pflag_spec lock_flags[] = {
    {"ttl", 0, PFLAG_INT64, "10", "seconds after which the lock of one who has died is free", NULL},
};

static const char lock_long[] =
    "Holds the lock until it is interrupted, and prints the key that shows it; or runs a program\n"
    "while it holds the lock, with ETCD_LOCK_KEY and ETCD_LOCK_REV in its environment, and ends\n"
    "with its exit code. Put \"--\" in front of a program that has flags.";

static const struct pflag_spec elect_flags[] = {
    {"listen", 'l', PFLAG_BOOL, "false", "print the leaders as they change", NULL},
};

static const char elect_long[] =
    "With a proposal it waits until it leads, prints its key and the proposal, and leads until it\n"
    "is interrupted. With -l it prints key and proposal of whoever leads.";

static const char watch_long[] =
    "The key and the end of the range may also come from ETCDCTL_WATCH_KEY and\n"
    "ETCDCTL_WATCH_RANGE_END. A program behind \"--\" is run for each event, with\n"
    "ETCD_WATCH_REVISION, ETCD_WATCH_EVENT_TYPE, ETCD_WATCH_KEY and ETCD_WATCH_VALUE in its\n"
    "environment.\n"
    "\n"
    "Interactive, each line of standard input is a command:\n"
    "\n"
    "watch [options] <key or prefix> [range_end] [-- program]\n"
    "progress";

static const char put_long[] =
    "Without a value and without --ignore-value, all of standard input is the value:\n"
    "\n"
    "$ etcdctl put <key> < file\n"
    "\n"
    "A key or a value that begins with '-' looks like a flag. Put it behind \"--\":\n"
    "\n"
    "$ etcdctl put -- <key> <value>";

static const char txn_long[] =
    "Reads a transaction from standard input: compares, then the requests for when all of them\n"
    "hold, then the requests for when one does not. An empty line ends each part.\n"
    "\n"
    "mod(\"key1\") > \"0\"\n"
    "\n"
    "put key1 \"overwritten\"\n"
    "\n"
    "put key1 \"created\"\n"
    "put key2 \"a second key\"\n"
    "\n"
    "Compares: version, create, mod and value, with = != < >. Requests: get, put and del with\n"
    "their flags.";

static const char completion_long[] =
    "Prints a script that completes the words of this program:\n"
    "\n"
    "  bash        source <(etcdctl completion bash)\n"
    "  zsh         etcdctl completion zsh > \"${fpath[1]}/_etcdctl\"\n"
    "  fish        etcdctl completion fish | source\n"
    "  powershell  etcdctl completion powershell | Out-String | Invoke-Expression";

/* In etcdctl's own order, which suggestions keep. */
static const struct command commands[] = {
    {.name = "get",
     .use = "get [options] <key> [range_end]",
     .summary = "Reads a key or a range of keys",
     FLAGS(kv_get_flags),
     .run = ctl__get_run},
    {.name = "put",
     .use = "put [options] <key> <value> (<value> can also be given from stdin)",
     .summary = "Writes a key",
     .long_text = put_long,
     FLAGS(kv_put_flags),
     .run = ctl__put_run},
    {.name = "del",
     .use = "del [options] <key> [range_end]",
     .summary = "Deletes a key or a range of keys [key, range_end)",
     FLAGS(kv_del_flags),
     .run = ctl__del_run},
    {.name = "txn",
     .use = "txn [options]",
     .summary = "Runs reads and writes as one transaction",
     .long_text = txn_long,
     FLAGS(txn_flags),
     .run = ctl__txn_run},
    {.name = "compaction",
     .use = "compaction [options] <revision>",
     .summary = "Forgets the history before a revision",
     FLAGS(compaction_flags),
     .run = ctl__compaction_run},
    {.name = "alarm",
     .use = "alarm <subcommand>",
     .summary = "Commands about alarms",
     CHILDREN(alarm_commands)},
    {.name = "defrag",
     .use = "defrag",
     .summary = "Gives the free space in a member's file back",
     FLAGS(defrag_flags),
     .run = ctl__defrag_run},
    {.name = "endpoint",
     .use = "endpoint <subcommand>",
     .summary = "Commands about endpoints",
     .shared_flags = endpoint_shared,
     .shared_flag_count = ARRAY_LEN(endpoint_shared),
     CHILDREN(endpoint_commands)},
    {.name = "move-leader",
     .use = "move-leader <transferee-member-id>",
     .summary = "Makes another member the leader",
     ABSENT},
    {.name = "watch",
     .use = "watch [options] [key or prefix] [range_end] [--] [exec-command arg1 arg2 ...]",
     .summary = "Prints changes of keys as they happen",
     .long_text = watch_long,
     FLAGS(ctl__watch_flags),
     .run = ctl__watch_run},
    {.name = "version",
     .use = "version",
     .summary = "Prints the version of this program",
     .run = ctl__version_run},
    {.name = "lease",
     .use = "lease <subcommand>",
     .summary = "Commands about leases",
     CHILDREN(lease_commands)},
    {.name = "member",
     .use = "member <subcommand>",
     .summary = "Commands about members",
     CHILDREN(member_commands)},
    {.name = "snapshot",
     .use = "snapshot <subcommand>",
     .summary = "Commands about snapshots",
     CHILDREN(snapshot_commands)},
    {.name = "make-mirror",
     .use = "make-mirror [options] <destination>",
     .summary = "Copies keys to another cluster as they change",
     ABSENT},
    {.name = "lock",
     .use = "lock <lockname> [exec-command arg1 arg2 ...]",
     .summary = "Takes a named lock",
     .long_text = lock_long,
     FLAGS(lock_flags),
     .run = ctl__lock_run},
    {.name = "elect",
     .use = "elect <election-name> [proposal]",
     .summary = "Takes part in an election, or watches it",
     .long_text = elect_long,
     FLAGS(elect_flags),
     .run = ctl__elect_run},
    {.name = "auth",
     .use = "auth <enable or disable>",
     .summary = "Commands about authentication",
     CHILDREN(auth_commands)},
    {.name = "user",
     .use = "user <subcommand>",
     .summary = "Commands about users",
     CHILDREN(user_commands)},
    {.name = "role",
     .use = "role <subcommand>",
     .summary = "Commands about roles",
     CHILDREN(role_commands)},
    {.name = "check",
     .use = "check <subcommand>",
     .summary = "Commands that measure a cluster",
     CHILDREN(check_commands)},
    {.name = "completion",
     .use = "completion [bash|zsh|fish|powershell]",
     .summary = "Prints a completion script for a shell",
     .long_text = completion_long,
     .words = shells,
     .check_args = ctl__completion_args,
     .run = ctl__completion_run,
     .use_is_complete = true},
    {.name = "downgrade",
     .use = "downgrade <TARGET_VERSION>",
     .summary = "Commands about downgrades",
     CHILDREN(downgrade_commands)},
    {.name = "help",
     .use = "help [command]",
     .summary = "Prints help about a command",
     .run = command_help_run},
    {.name = "__complete",
     .use = "__complete [words]",
     .summary = "Answers the completion scripts",
     .run = command_complete_run,
     .is_hidden = true,
     .flags_are_raw = true},
};

const struct command ctl__root = {
    .name = "etcdctl",
    .use = "etcdctl",
    .summary = "The command line client of etcd.",
    .shared_flags = ctl__global_flags,
    .shared_flag_count = CTL_GLOBAL_FLAGS,
    CHILDREN(commands),
};
