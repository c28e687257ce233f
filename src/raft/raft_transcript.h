/* Transcripts: a small world of raft members that commands move and that answers in text, in the
 * words of etcd-io/raft's own interaction tests, so that theirs run here as well as ours.
 *
 * A member has a disk (what raft gave it to persist), a line of writes in flight and a line of
 * entries to apply; messages wait until they are delivered. Test code only. */
#ifndef RAFT_RAFT_TRANSCRIPT_H
#define RAFT_RAFT_TRANSCRIPT_H

#include "raft/raft_priv.h"

#define APPEND_THREAD UINT64_MAX
#define APPLY_THREAD (UINT64_MAX - 1)

/* Owned messages, in order. */
struct msg_list {
    struct raft_message *items;
    size_t count;
    size_t cap;
};

/* A deep copy with its own references. */
struct raft_message msg_dup(const struct raft_message *m);
void msg_free(struct raft_message *m);
void msg_list_add(struct msg_list *list, struct raft_message m); /* takes it */
void msg_list_fini(struct msg_list *list);

/* A write in flight, or entries to apply: the request and what is to be sent when it is done. */
struct work {
    struct raft_message request;
    struct msg_list responses;
};

struct work_list {
    struct work *items;
    size_t count;
    size_t cap;
};

/* What a member has persisted. */
struct disk {
    struct raft_hard_state hard_state;
    raft_index base;
    raft_term base_term;
    struct raft_entry *entries; /* from base + 1 on */
    size_t count;
    size_t cap;
};

struct member {
    struct raft_config config;
    struct raft *raft;
    struct disk disk;
    struct work_list append_work;
    struct work_list apply_work;
    struct raft_snapshot *state; /* the state machine: its data is all it applied, in a row */
};

#define MEMBERS_MAX 16

enum { LEVEL_NONE = 5 };

struct world {
    struct member members[MEMBERS_MAX];
    size_t member_count;
    struct msg_list messages; /* in flight */
    struct buf out;
    int level; /* trace lines below it are not printed; LEVEL_NONE: nothing is */
};

void world_init(struct world *world);
void world_fini(struct world *world);

/* One argument of a command: a key, and values if it was key=value or key=(v1,v2). */
#define ARG_VALUES_MAX 16
struct arg {
    char key[64];
    char values[ARG_VALUES_MAX][32];
    size_t value_count;
};

#define ARGS_MAX 16
struct command {
    char name[64];
    struct arg args[ARGS_MAX];
    size_t arg_count;
    const char *input; /* lines between the command and its output */
};

/* Runs one command; the answer is the world's until the next one, and "ok" when there is none. */
const char *world_run(struct world *world, const struct command *command);

/* --- raft_transcript.c, for the commands --- */

typedef void process_fn(struct world *world, struct member *member);

struct member *member_of(struct world *world, raft_id id);
__attribute__((format(printf, 2, 3))) void say(struct world *world, const char *format, ...);
/* Puts two blanks before each line written since `from`. */
void indent_since(struct world *world, size_t from);
const char *err_text(enum err err);
void trace_line(void *priv, enum raft_trace_level level, const char *line);
void process_ready(struct world *world, struct member *member);
void process_append(struct world *world, struct member *member);
void process_apply(struct world *world, struct member *member);
/* Between a member and itself. */
bool is_local(const struct raft_message *m);
/* All messages to one member, of one type or (-1) any; gives how many there were. */
size_t deliver(struct world *world, raft_id to, int type, bool is_drop);
/* One round; true when there was nothing to do. */
bool stabilize_once(struct world *world, struct member *const *members, size_t count);
void work_list_fini(struct work_list *list);
void disk_truncate(struct disk *disk, size_t count);
void disk_install(struct disk *disk, const struct raft_snapshot *snapshot);
void disk_compact(struct disk *disk, raft_index index);

/* --- raft_transcript_text.c --- */

void text_entry(struct buf *out, const struct raft_entry *entry);
void text_entries(struct buf *out, const struct raft_entry *entries, size_t count);
void text_message(struct buf *out, const char *indent, const struct raft_message *m,
                  const struct msg_list *responses);
void text_snapshot(struct buf *out, const struct raft_snapshot *snapshot);
void text_hard_state(struct buf *out, const struct raft_hard_state *hard);

#endif
