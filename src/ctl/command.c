/* Source: github.com/spf13/cobra 1.8, Find() and execute().
 *
 * Finding walks down while the first word that is neither a flag nor a flag's value names a child,
 * wholly or by an unambiguous prefix. Whether a flag takes the next word is asked of the command
 * reached so far, to which an unknown flag looks as if it took one: "etcdctl --nosuch get foo"
 * complains about the command "foo". We keep that, because the text is what scripts see. */
#include "ctl/command.h"

#include "base/mem.h"

static const struct pflag_spec help_spec = {
    .name = "help", .shorthand = 'h', .type = PFLAG_BOOL, .initial = "false"};

static void put(const struct command_program *program, struct slice text)
{
    program->print(program->ctx, text);
}

static void put_error(const struct command_program *program, const struct buf *text)
{
    program->print_error(program->ctx, buf_slice(text));
}

/* ---- finding --------------------------------------------------------------------------- */

struct pflag_set *command_flags(const struct command_path *path, bool with_help)
{
    struct pflag_set *set = pflag_set_new();
    const struct command *command = command_of(path);
    pflag_add(set, command->flags, command->flag_count, false);
    pflag_add(set, command->shared_flags, command->shared_flag_count, false);
    if (with_help) {
        pflag_add(set, &help_spec, 1, false);
    }
    for (size_t i = path->depth - 1; i-- > 0;) {
        const struct command *parent = path->steps[i];
        pflag_add(set, parent->shared_flags, parent->shared_flag_count, true);
    }
    return set;
}

void command_name(const struct command_path *path, struct buf *out)
{
    for (size_t i = 0; i < path->depth; i++) {
        buf_printf(out, "%s%s", i == 0 ? "" : " ", path->steps[i]->name);
    }
}

static bool starts_with(const char *text, const char *prefix)
{
    return strncmp(text, prefix, strlen(prefix)) == 0;
}

/* Does this word, written without "=", take the one behind it? */
static bool takes_next(const struct pflag_set *flags, const char *word)
{
    if (word[0] != '-' || strchr(word, '=') != NULL) {
        return false;
    }
    const struct pflag *flag = NULL;
    if (word[1] == '-') {
        flag = pflag_find(flags, slice_str(word + 2));
    } else if (word[1] != 0 && word[2] == 0) {
        flag = pflag_find_short(flags, word[1]);
    } else {
        return false;
    }
    return flag == NULL || !pflag_value_optional(flag->spec);
}

/* The index of the first word that is no flag and no flag's value, or `count`. */
static size_t first_word(const struct pflag_set *flags, const char *const *args, size_t count)
{
    for (size_t i = 0; i < count; i++) {
        if (strcmp(args[i], "--") == 0) {
            break;
        }
        if (takes_next(flags, args[i])) {
            i++;
        } else if (args[i][0] != 0 && args[i][0] != '-') {
            return i;
        }
    }
    return count;
}

const struct command *command_next_child(const struct command *parent,
                                         const struct command *previous)
{
    const struct command *next = NULL;
    for (size_t i = 0; i < parent->child_count; i++) {
        const struct command *child = &parent->children[i];
        if ((previous == NULL || strcmp(child->name, previous->name) > 0) &&
            (next == NULL || strcmp(child->name, next->name) < 0)) {
            next = child;
        }
    }
    return next;
}

/* The child of that name, else the only one whose name starts so. */
static const struct command *find_child(const struct command *parent, const char *name)
{
    const struct command *match = NULL;
    size_t match_count = 0;
    for (size_t i = 0; i < parent->child_count; i++) {
        const struct command *child = &parent->children[i];
        if (strcmp(child->name, name) == 0) {
            return child;
        }
        if (starts_with(child->name, name)) {
            match = child;
            match_count++;
        }
    }
    return match_count == 1 ? match : NULL;
}

enum err command_find(const struct command *root, const char *const *args, size_t count,
                      struct command_path *out, const char **rest_out, size_t *rest_count_out,
                      struct buf *why)
{
    *out = (struct command_path){.steps = {root}, .depth = 1};
    size_t rest = count;
    if (count > 0) {
        memcpy((void *)rest_out, (const void *)args, count * sizeof(*args));
    }
    for (;;) {
        const struct command *parent = command_of(out);
        struct pflag_set *flags = command_flags(out, false);
        size_t word = first_word(flags, rest_out, rest);
        pflag_set_free(&flags);
        const struct command *child = word == rest ? NULL : find_child(parent, rest_out[word]);
        if (child == NULL) {
            *rest_count_out = rest;
            if (word < rest && parent == root) {
                buf_append_str(why, "unknown command \"");
                buf_printf(why, "%s\" for \"%s\"", rest_out[word], root->name);
                command_suggest(root, rest_out[word], why);
                return ERR_INVALID;
            }
            return ERR_OK;
        }
        memmove((void *)(rest_out + word), (const void *)(rest_out + word + 1),
                (rest - word - 1) * sizeof(*rest_out));
        rest--;
        ASSERT(out->depth < COMMAND_DEPTH_MAX);
        out->steps[out->depth++] = child;
    }
}

/* ---- suggestions ----------------------------------------------------------------------- */

/* cobra suggests what is at most so many edits away. */
#define SUGGEST_DISTANCE 2
/* Longer words are no typing errors of ours; it also bounds the work. */
#define SUGGEST_LEN_MAX 64

static int lower(char c)
{
    return c >= 'A' && c <= 'Z' ? c - 'A' + 'a' : c;
}

/* Levenshtein's distance, letter case ignored. Both at most SUGGEST_LEN_MAX long. */
static size_t edit_distance(const char *a, const char *b)
{
    size_t row[SUGGEST_LEN_MAX + 1];
    size_t b_len = strlen(b);
    ASSERT(b_len <= SUGGEST_LEN_MAX);
    for (size_t j = 0; j <= b_len; j++) {
        row[j] = j;
    }
    for (size_t i = 1; a[i - 1] != 0; i++) {
        size_t diagonal = row[0];
        row[0] = i;
        for (size_t j = 1; j <= b_len; j++) {
            size_t above = row[j];
            size_t best = diagonal;
            if (lower(a[i - 1]) != lower(b[j - 1])) {
                best = above < best ? above : best;
                best = row[j - 1] < best ? row[j - 1] : best;
                best++;
            }
            row[j] = best;
            diagonal = above;
        }
    }
    return row[b_len];
}

static bool starts_with_any_case(const char *text, const char *prefix)
{
    for (; *prefix != 0; text++, prefix++) {
        if (lower(*text) != lower(*prefix)) {
            return false;
        }
    }
    return true;
}

void command_suggest(const struct command *parent, const char *typed, struct buf *out)
{
    if (strlen(typed) > SUGGEST_LEN_MAX) {
        return;
    }
    bool any = false;
    for (size_t i = 0; i < parent->child_count; i++) {
        const char *name = parent->children[i].name;
        if (parent->children[i].is_hidden ||
            (!starts_with_any_case(name, typed) && edit_distance(typed, name) > SUGGEST_DISTANCE)) {
            continue;
        }
        buf_append_str(out, any ? "" : "\n\nDid you mean this?\n");
        buf_printf(out, "\t%s\n", name);
        any = true;
    }
}

/* ---- running --------------------------------------------------------------------------- */

static void show_usage(const struct command_program *program, const struct command_path *path)
{
    struct buf text = {0};
    command_usage(program, path, true, &text);
    put(program, buf_slice(&text));
    buf_fini(&text);
}

/* As cobra shows what is wrong with a command line: the sentence, the help, and an empty line. */
static int usage_error(const struct command_program *program, const struct command_path *path,
                       struct buf *why)
{
    struct buf text = {0};
    buf_append_str(&text, "Error: ");
    buf_append_slice(&text, buf_slice(why));
    buf_append_byte(&text, '\n');
    put_error(program, &text);
    show_usage(program, path);
    buf_reset(&text);
    buf_append_byte(&text, '\n');
    put_error(program, &text);
    buf_fini(&text);
    return COMMAND_EXIT_ERROR;
}

static bool asks_for_help(const char *const *args, size_t count)
{
    for (size_t i = 0; i < count && strcmp(args[i], "--") != 0; i++) {
        if (strcmp(args[i], "-h") == 0 || strcmp(args[i], "--help") == 0) {
            return true;
        }
    }
    return false;
}

/* A command that etcdctl has and this program has not. */
static int refuse(const struct command_program *program, const struct command_path *path)
{
    struct buf text = {0};
    buf_append_str(&text, "Error: the command \"");
    command_name(path, &text);
    buf_append_str(&text, "\" is not built into this program yet\n");
    put_error(program, &text);
    buf_fini(&text);
    return COMMAND_EXIT_ERROR;
}

static int run_raw(const struct command_call *call)
{
    const struct command *command = command_of(call->path);
    if (command->is_absent && !asks_for_help(call->raw_args, call->raw_count)) {
        return refuse(call->program, call->path);
    }
    if (command->is_absent) {
        show_usage(call->program, call->path);
        return COMMAND_EXIT_OK;
    }
    return command->run(call);
}

static int run_parsed(const struct command_call *call)
{
    const struct command *command = command_of(call->path);
    struct buf why = {0};
    int code = COMMAND_EXIT_OK;
    enum err err = pflag_parse(call->flags, call->raw_args, call->raw_count, &why);
    if (err == ERR_INVALID) {
        code = usage_error(call->program, call->path, &why);
    } else if (err == ERR_NOT_FOUND || pflag_bool(call->flags, "help") || command->run == NULL) {
        show_usage(call->program, call->path);
    } else if (command->check_args != NULL && command->check_args(call, &why) != ERR_OK) {
        code = usage_error(call->program, call->path, &why);
    } else {
        code = command->run(call);
    }
    buf_fini(&why);
    return code;
}

static int run(const struct command_program *program, const struct command_path *path,
               const char *const *args, size_t count)
{
    const struct command *command = command_of(path);
    struct pflag_set *flags = command_flags(path, true);
    struct command_call call = {
        .program = program, .path = path, .flags = flags, .raw_args = args, .raw_count = count};
    bool is_raw = command->flags_are_raw || command->is_absent;
    int code = is_raw ? run_raw(&call) : run_parsed(&call);
    pflag_set_free(&flags);
    return code;
}

int command_execute(const struct command_program *program, const char *const *args, size_t count)
{
    struct command_path path;
    struct buf why = {0};
    const char **rest = mem_array(count + 1, sizeof(*rest));
    size_t rest_count = 0;
    int code = COMMAND_EXIT_ERROR;
    if (command_find(program->root, args, count, &path, rest, &rest_count, &why) != ERR_OK) {
        struct buf text = {0};
        buf_append_str(&text, "Error: ");
        buf_append_slice(&text, buf_slice(&why));
        buf_append_str(&text, "\nRun '");
        command_name(&path, &text);
        buf_append_str(&text, " --help' for usage.\n");
        put_error(program, &text);
        buf_fini(&text);
    } else {
        code = run(program, &path, rest, rest_count);
    }
    mem_free((void *)rest);
    buf_fini(&why);
    return code;
}
