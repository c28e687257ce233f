/* The tree of etcdutl's commands, and its set-up. */
#include "ctl/utl.h"

#include "ctl/utl_priv.h"

#define CHILDREN(list) .children = (list), .child_count = ARRAY_LEN(list)
#define FLAGS(list) .flags = (list), .flag_count = ARRAY_LEN(list)

static const char *const formats[] = {"fields", "json", "protobuf", "simple", "table", NULL};
static const char *const shells[] = {"bash", "zsh", "fish", "powershell", NULL};

static const struct pflag_spec global_flags[] = {
    {"write-out", 'w', PFLAG_STRING, "simple",
     "the format of answers: fields, json, protobuf, simple, table", formats},
};

/* ---- set-up ---------------------------------------------------------------------------------- */

int utl__setup(struct ctl *ctl, const struct command_call *call)
{
    enum print_format format = PRINT_SIMPLE;
    if (print_format_parse(pflag_str(call->flags, "write-out"), &format) != ERR_OK) {
        return ctl__fail(ctl, CTL_BAD_FEATURE, "unsupported output format");
    }
    printer_init(&ctl->printer, format, false, &ctl->out, &ctl->err);
    return CTL_OK;
}

/* ---- commands -------------------------------------------------------------------------------- */

/* In cobra's words for a required flag. */
static enum err needs_data_dir(const struct command_call *call, struct buf *why)
{
    if (pflag_changed(call->flags, "data-dir")) {
        return ERR_OK;
    }
    buf_append_str(why, "required flag(s) \"data-dir\" not set");
    return ERR_INVALID;
}

static enum err needs_one(const struct command_call *call, struct buf *why)
{
    size_t count = pflag_narg(call->flags);
    if (count == 1) {
        return ERR_OK;
    }
    buf_printf(why, "accepts 1 arg(s), received %zu", count);
    return ERR_INVALID;
}

static int status_run(const struct command_call *call)
{
    int code = utl__setup(ctl_of(call), call);
    return code == CTL_OK ? utl__status(ctl_of(call), call, true) : code;
}

static int restore_run_command(const struct command_call *call)
{
    int code = utl__setup(ctl_of(call), call);
    return code == CTL_OK ? utl__restore(ctl_of(call), call) : code;
}

static int version_run(const struct command_call *call)
{
    buf_printf(&ctl_of(call)->out, "etcdutl version: %s\nAPI version: %s\n", CTL_VERSION,
               CTL_API_VERSION);
    return CTL_OK;
}

static const struct pflag_spec defrag_flags[] = {
    {"data-dir", 0, PFLAG_STRING, "", "the directory of a member that is not running (required)",
     NULL},
};

static const struct pflag_spec hashkv_flags[] = {
    {"rev", 0, PFLAG_INT64, "0", "hash the store up to this revision (0: all of it)", NULL},
};

static const struct command snapshot_commands[] = {
    {.name = "restore",
     .use = "restore <filename> --data-dir {output dir} [options]",
     .summary = "Makes the directory of a new member out of a snapshot",
     .flags = utl__restore_flags,
     .flag_count = UTL_RESTORE_FLAGS,
     .run = restore_run_command},
    {.name = "status",
     .use = "status <filename>",
     .summary = "Prints what a snapshot holds",
     .long_text = "The simple format prints, with commas between them: hash, revision, total keys, "
                  "total size,\nversion.",
     .run = status_run},
};

static const struct command commands[] = {
    {.name = "defrag",
     .use = "defrag",
     .summary = "Gives the free space in a member's file back",
     FLAGS(defrag_flags),
     .check_args = needs_data_dir,
     .run = utl__defrag_run},
    {.name = "snapshot",
     .use = "snapshot <subcommand>",
     .summary = "Commands about snapshots",
     CHILDREN(snapshot_commands)},
    {.name = "hashkv",
     .use = "hashkv <filename>",
     .summary = "Prints a hash of the keys' history in a file",
     FLAGS(hashkv_flags),
     .check_args = needs_one,
     .run = utl__hashkv_run},
    {.name = "version",
     .use = "version",
     .summary = "Prints the version of this program",
     .run = version_run},
    {.name = "completion",
     .use = "completion [bash|zsh|fish|powershell]",
     .summary = "Prints a completion script for a shell",
     .words = shells,
     .check_args = ctl__completion_args,
     .run = ctl__completion_run,
     .use_is_complete = true},
    {.name = "migrate",
     .use = "migrate",
     .summary = "Changes the version that a member's files are for",
     .is_absent = true},
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

static const struct command root = {
    .name = "etcdutl",
    .use = "etcdutl",
    .summary = "The tool for the files of etcd members that are not running.",
    .shared_flags = global_flags,
    .shared_flag_count = ARRAY_LEN(global_flags),
    CHILDREN(commands),
};

int utl_main(int argc, const char *const *argv, const char *const *environment, struct env *env,
             const struct ctl_terminal *terminal)
{
    return ctl__main(&root, argc, argv, environment, env, terminal);
}
