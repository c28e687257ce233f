/* A tree of commands as cobra understands it: finding the one that is meant, its help, its errors.
 *
 * The tree is constant tables. A path is the way from the root to one command. The words of help
 * and of errors, the prefix matching ("comp" runs compaction), the suggestions and the exit codes
 * are cobra's with etcdctl's own help layout.
 *
 * It is no place for what commands do: a command's run() gets the parsed flags and does it.
 *
 * Threads: one at a time; the tables are shared and never written. */
#ifndef CTL_COMMAND_H
#define CTL_COMMAND_H

#include "ctl/pflag.h"

struct command;
struct command_call;

/* Does the work; returns the exit code of the process. */
typedef int command_run_fn(const struct command_call *call);
/* Checks the arguments before run(). ERR_INVALID with a sentence appended to *why. */
typedef enum err command_args_fn(const struct command_call *call, struct buf *why);

struct command {
    const char *name;               /* "get" */
    const char *use;                /* "get [options] <key> [range_end]" */
    const char *summary;            /* one line, for the list of commands */
    const char *long_text;          /* or NULL */
    const struct pflag_spec *flags; /* for this command alone */
    size_t flag_count;
    const struct pflag_spec *shared_flags; /* for this command and those below it */
    size_t shared_flag_count;
    const struct command *children; /* in the order of suggestions; help sorts by name */
    size_t child_count;
    command_run_fn *run;         /* NULL: prints its help */
    command_args_fn *check_args; /* NULL: anything goes */
    const char *const *words;    /* completions of the first argument, up to NULL; or NULL */
    bool use_is_complete;        /* no "[flags]" behind the usage line */
    bool is_absent;              /* etcdctl has it, this program not yet: refuses itself */
    bool is_hidden;              /* neither listed nor suggested */
    bool flags_are_raw;          /* the arguments are passed on unparsed */
};

#define COMMAND_DEPTH_MAX 4

/* root, …, the command itself. */
struct command_path {
    const struct command *steps[COMMAND_DEPTH_MAX];
    size_t depth; /* at least 1 */
};

/* What a program brings: its tree, its versions, and where its words go. */
struct command_program {
    const struct command *root;
    const char *version;
    const char *api_version;
    void (*print)(void *ctx, struct slice text);       /* standard output */
    void (*print_error)(void *ctx, struct slice text); /* standard error */
    void *ctx;                                         /* of both, and of the commands */
};

struct command_call {
    const struct command_program *program;
    const struct command_path *path;
    struct pflag_set *flags;
    const char *const *raw_args; /* all that is behind the command's name, flags included */
    size_t raw_count;
};

#define COMMAND_EXIT_OK 0
#define COMMAND_EXIT_ERROR 1

static inline const struct command *command_of(const struct command_path *path)
{
    return path->steps[path->depth - 1];
}

/* Finds and runs what the arguments (without the program's name) ask for; returns the exit code.
 * Errors of the command line are printed here. */
int command_execute(const struct command_program *program, const char *const *args, size_t count);

/* Finds the command that `args` name. rest_out must have room for `count` pointers and gets what is
 * not part of the name.
 *
 * ERR_INVALID  an unknown command, with cobra's sentence and suggestions appended to *why; *out is
 *              set even so, to the deepest command found */
FALLIBLE command_find(const struct command *root, const char *const *args, size_t count,
                      struct command_path *out, const char **rest_out, size_t *rest_count_out,
                      struct buf *why);

/* A new set with the command's own and inherited flags. with_help adds -h, --help. */
struct pflag_set *command_flags(const struct command_path *path, bool with_help);

/* "etcdctl endpoint health". Appends. */
void command_name(const struct command_path *path, struct buf *out);

/* NAME, USAGE, COMMANDS, … in etcdctl's layout. Appends. */
void command_usage(const struct command_program *program, const struct command_path *path,
                   bool with_help, struct buf *out);

/* The child that follows `previous` (NULL: the first) by name, or NULL. */
const struct command *command_next_child(const struct command *parent,
                                         const struct command *previous);

/* "\n\nDid you mean this?\n\tget\n", or nothing. Appends. */
void command_suggest(const struct command *parent, const char *typed, struct buf *out);

/* The help command's and the hidden completion command's run(). */
int command_help_run(const struct command_call *call);
int command_complete_run(const struct command_call *call);

/* The completion script for `shell` ("bash", "zsh", "fish", "powershell"). Appends.
 * ERR_UNSUPPORTED for another one. */
FALLIBLE command_completion_script(const char *program, const char *shell, struct buf *out);

#endif
