/* What the command groups of etcdctl share: the run in progress, its output, its client. */
#ifndef CTL_CTL_PRIV_H
#define CTL_CTL_PRIV_H

#include "client/client.h"
#include "ctl/ctl.h"
#include "ctl/kv_op.h"
#include "ctl/print.h"

/* One run of the program. A command's run() finds it in call->program->ctx. */
struct ctl {
    struct env *env;
    struct loop *loop;
    const struct ctl_terminal *terminal;
    const char *const *environment;
    struct arena arena; /* of the run: requests, answers, texts */
    struct buf out;     /* not yet written */
    struct buf err;
    struct buf in; /* read, not yet consumed */
    struct kv_input input;
    struct log_core *log_core;
    struct log log;
    struct printer printer;
    struct client *client;
    /* From the flags, by ctl__setup(). */
    struct client_options options;
    uint64_t command_timeout_ns;
};

static inline struct ctl *ctl_of(const struct command_call *call)
{
    return call->program->ctx;
}

/* ---- output and input -------------------------------------------------------------------- */

/* Writes what has gathered, standard output first. */
void ctl__flush(struct ctl *ctl);
/* Prints "Error: <sentence>" and returns `code`. */
__attribute__((format(printf, 3, 4))) int ctl__fail(struct ctl *ctl, int code, const char *format,
                                                    ...);
int ctl__fail_text(struct ctl *ctl, int code, struct slice sentence);
/* The next line of standard input with its newline, appended. ERR_EOF when it ends before one;
 * ERR_TOO_LARGE over `limit` bytes. */
FALLIBLE ctl__read_line(struct ctl *ctl, size_t limit, struct buf *out);
void ctl__sleep(struct ctl *ctl, uint64_t ns);

/* ---- set-up ------------------------------------------------------------------------------ */

#define CTL_GLOBAL_FLAGS 20
extern const struct pflag_spec ctl__global_flags[CTL_GLOBAL_FLAGS];

/* Environment into flags, flags into client options and printer. Call it once, after the arguments
 * have been looked at. CTL_OK, or an exit code after the error has been printed. */
int ctl__setup(struct ctl *ctl, const struct command_call *call);
/* ETCDCTL_* variables into the flags. Part of ctl__setup(). */
int ctl__read_environment(struct ctl *ctl, struct pflag_set *flags);

/* A client of all endpoints as ctl__setup() found them, logged in; its errors are printed. */
int ctl__connect(struct ctl *ctl);
/* A client of these endpoints, logged in; its errors are printed. */
int ctl__connect_to(struct ctl *ctl, const char *const *endpoints, size_t count,
                    struct client **out);
/* ctl__setup() and ctl__connect(). */
int ctl__open(struct ctl *ctl, const struct command_call *call);

/* ---- calls ------------------------------------------------------------------------------- */

struct ctl_rpc {
    const char *path;
    const void *request; /* a generated struct */
    const ProtobufCMessageDescriptor *reply_type;
    bool is_repeatable;
    mono_ns deadline;
    /* Out. */
    void *reply;       /* in ctl->arena; NULL on failure */
    uint32_t status;   /* an enum grpc_status */
    const char *error; /* as clientv3 shows it; in ctl->arena */
};

/* When a command that starts now has to end. */
mono_ns ctl__deadline(const struct ctl *ctl);
/* Makes the call and waits for its end. False on failure: rpc->error says why. */
bool ctl__call(struct ctl *ctl, struct client *client, struct ctl_rpc *rpc);
/* Decodes a reply into ctl->arena. False with a sentence in *error_out. */
bool ctl__decode(struct ctl *ctl, const ProtobufCMessageDescriptor *type, struct slice bytes,
                 void **out, const char **error_out);
/* Turns the loop until *done. */
void ctl__wait(struct ctl *ctl, const bool *done);

/* ---- programs ----------------------------------------------------------------------------- */

#define CTL_KILLED 255 /* the exit code when a program dies of a signal, as in Go: -1 */

struct ctl_exec {
    const char *const *argv;      /* up to NULL */
    const char *const *variables; /* "NAME=value" beside our own, up to NULL */
    bool inherits_over;           /* ours win over `variables`, not the other way round */
};

/* Runs a program to its end while the loop turns. CTL_OK, or the code to end with and Go's sentence
 * in *why. */
int ctl__exec(struct ctl *ctl, const struct ctl_exec *exec, struct errbuf *why);

/* CTL_OK, or prints "<format> not supported as output format" and returns CTL_BAD_FEATURE. */
int ctl__shown(struct ctl *ctl, enum err err);

/* ctl__setup(), then what --endpoints says, or with --cluster what the members advertise. */
int ctl__endpoints(struct ctl *ctl, const struct command_call *call, const char *const **out,
                   size_t *count_out);
/* Asks one endpoint alone, within --command-timeout. rpc->reply stays NULL when it did not answer;
 * an exit code other than CTL_OK ends the command. */
int ctl__ask(struct ctl *ctl, const char *endpoint, struct ctl_rpc *rpc);
#define CTL_WATCH_FLAGS 5
extern const struct pflag_spec ctl__watch_flags[CTL_WATCH_FLAGS];

bool ctl__member_list(struct ctl *ctl, struct client *client, bool is_serializable,
                      struct ctl_rpc *rpc);

/* ---- the commands ------------------------------------------------------------------------ */

extern const struct command ctl__root;
/* Runs a command line of a program whose commands are `root`'s. */
int ctl__main(const struct command *root, int argc, const char *const *argv,
              const char *const *environment, struct env *env, const struct ctl_terminal *terminal);

command_run_fn ctl__put_run, ctl__get_run, ctl__del_run, ctl__compaction_run;
command_run_fn ctl__txn_run;
command_run_fn ctl__watch_run;
command_run_fn ctl__lock_run, ctl__elect_run;
command_run_fn ctl__check_perf_run, ctl__check_datascale_run;
command_run_fn ctl__health_run, ctl__status_run, ctl__hashkv_run;
command_run_fn ctl__member_list_run;
command_run_fn ctl__lease_grant_run, ctl__lease_revoke_run, ctl__lease_time_run;
command_run_fn ctl__lease_list_run, ctl__lease_keep_alive_run;
command_run_fn ctl__defrag_run, ctl__snapshot_save_run;
command_run_fn ctl__snapshot_status_run, ctl__snapshot_restore_run;
command_run_fn ctl__alarm_list_run, ctl__alarm_disarm_run;
command_run_fn ctl__version_run, ctl__completion_run;
command_args_fn ctl__completion_args;

#endif
