/* Help in etcdctl's layout:
 *
 *   NAME:            etcdctl's cobrautl template; lists are laid out by Go's text/tabwriter with
 *     get - …        tab stops of 8 and one blank of padding: the first column of a run of lines
 *                    is as wide as its widest cell and one, rounded up to a tab stop, filled up
 *   USAGE:           with tabs.
 *     etcdctl get …
 *
 * and so on: VERSION and API VERSION, COMMANDS, DESCRIPTION, OPTIONS, GLOBAL OPTIONS; and an empty
 * line at the end. */
#include "ctl/command.h"

#include "base/gotext.h"
#include "base/mem.h"

#define TAB_STOP 8

/* A list of two columns before it is laid out: lines of "first\tsecond\n". */
static void append_columns(struct slice lines, struct buf *out)
{
    size_t widest = 0;
    struct slice line;
    for (struct slice rest = lines; rest.len > 0;) {
        rest = slice_split(rest, '\n', &line);
        struct slice first;
        slice_split(line, '\t', &first);
        widest = first.len > widest ? first.len : widest;
    }
    size_t width = (widest + 1 + TAB_STOP - 1) / TAB_STOP * TAB_STOP;
    for (struct slice rest = lines; rest.len > 0;) {
        rest = slice_split(rest, '\n', &line);
        struct slice first;
        struct slice second = slice_split(line, '\t', &first);
        buf_append_slice(out, first);
        for (size_t at = first.len; at < width; at = at / TAB_STOP * TAB_STOP + TAB_STOP) {
            buf_append_byte(out, '\t');
        }
        buf_append_slice(out, second);
        buf_append_byte(out, '\n');
    }
}

static void append_flag(const struct pflag_spec *spec, const char *usage, struct buf *out)
{
    if (spec->shorthand != 0) {
        buf_printf(out, "  -%c, --%s", spec->shorthand, spec->name);
    } else {
        buf_printf(out, "      --%s", spec->name);
    }
    bool is_optional = pflag_value_optional(spec);
    buf_append_str(out, is_optional ? "[=" : "=");
    if (spec->type == PFLAG_STRING) {
        go_quote(slice_str(spec->initial), out);
    } else {
        pflag_format_initial(spec, out);
    }
    buf_printf(out, "%s\t%s\n", is_optional ? "]" : "", usage);
}

static void append_flags(const char *title, const struct command_path *path,
                         const struct pflag_set *flags, bool is_inherited, struct buf *out)
{
    struct buf lines = {0};
    for (size_t i = 0; i < pflag_count(flags); i++) {
        const struct pflag *flag = pflag_at(flags, i);
        if (flag->is_inherited != is_inherited) {
            continue;
        }
        if (flag->spec->usage == NULL) { /* -h, which every command has */
            struct buf usage = {0};
            buf_printf(&usage, "help for %s", command_of(path)->name);
            append_flag(flag->spec, buf_cstr(&usage), &lines);
            buf_fini(&usage);
        } else {
            append_flag(flag->spec, flag->spec->usage, &lines);
        }
    }
    if (lines.len > 0) {
        buf_printf(out, "\n%s:\n", title);
        append_columns(buf_slice(&lines), out);
    }
    buf_fini(&lines);
}

static void append_commands(const struct command *parent, const char *prefix, struct buf *lines)
{
    const struct command *child = NULL;
    while ((child = command_next_child(parent, child)) != NULL) {
        if (child->is_hidden) {
            continue;
        }
        struct buf name = {0};
        buf_printf(&name, "%s%s", prefix, child->name);
        if (child->run != NULL || child->is_absent) {
            buf_printf(lines, "  %s\t%s%s\n", buf_cstr(&name), child->summary,
                       child->is_absent ? " (not built yet)" : "");
        }
        buf_append_byte(&name, ' ');
        append_commands(child, buf_cstr(&name), lines);
        buf_fini(&name);
    }
}

static void append_description(const char *text, struct buf *out)
{
    struct slice rest = slice_str(text);
    while (rest.len > 0 && strchr("\n\t ", rest.data[0]) != NULL) {
        rest = slice_skip(rest, 1);
    }
    while (rest.len > 0 && strchr("\n\t ", rest.data[rest.len - 1]) != NULL) {
        rest.len--;
    }
    buf_append_str(out, "\nDESCRIPTION:\n");
    while (rest.data != NULL) {
        struct slice line;
        rest = slice_split(rest, '\n', &line);
        buf_append_str(out, "  ");
        buf_append_slice(out, line);
        buf_append_byte(out, '\n');
    }
}

static void append_use(const struct command_path *path, struct buf *out)
{
    const struct command *command = command_of(path);
    buf_append_str(out, "\nUSAGE:\n  ");
    if (path->depth > 1) {
        struct command_path parent = *path;
        parent.depth--;
        command_name(&parent, out);
        buf_append_byte(out, ' ');
    }
    buf_append_str(out, command->use);
    if (!command->use_is_complete && strstr(command->use, "[flags]") == NULL) {
        buf_append_str(out, " [flags]");
    }
    buf_append_byte(out, '\n');
}

void command_usage(const struct command_program *program, const struct command_path *path,
                   bool with_help, struct buf *out)
{
    const struct command *command = command_of(path);
    struct command_path below_root = {.depth = path->depth - 1};
    memcpy(below_root.steps, path->steps + 1, below_root.depth * sizeof(path->steps[0]));
    buf_append_str(out, "NAME:\n  ");
    command_name(path->depth == 1 ? path : &below_root, out);
    buf_printf(out, " - %s\n", command->summary);
    append_use(path, out);
    if (path->depth == 1) {
        buf_printf(out, "\nVERSION:\n  %s\n", program->version);
    }
    if (command->child_count > 0) {
        buf_printf(out, "\nAPI VERSION:\n  %s\n", program->api_version);
        struct buf lines = {0};
        append_commands(command, "", &lines);
        buf_append_str(out, "\nCOMMANDS:\n");
        append_columns(buf_slice(&lines), out);
        buf_fini(&lines);
    }
    if (command->long_text != NULL) {
        append_description(command->long_text, out);
    }
    struct pflag_set *flags = command_flags(path, with_help);
    append_flags("OPTIONS", path, flags, false, out);
    append_flags("GLOBAL OPTIONS", path, flags, true, out);
    pflag_set_free(&flags);
    buf_append_byte(out, '\n');
}

/* Go's %#q of a list: raw quotes where a word allows them. */
static void append_topic(const char *const *words, size_t count, struct buf *out)
{
    buf_append_byte(out, '[');
    for (size_t i = 0; i < count; i++) {
        buf_append_str(out, i == 0 ? "" : " ");
        bool is_raw = strchr(words[i], '`') == NULL;
        for (const char *p = words[i]; *p != 0; p++) {
            is_raw = is_raw && ((uint8_t)*p >= ' ' || *p == '\t') && *p != 0x7f;
        }
        if (is_raw) {
            buf_printf(out, "`%s`", words[i]);
        } else {
            go_quote(slice_str(words[i]), out);
        }
    }
    buf_append_byte(out, ']');
}

int command_help_run(const struct command_call *call)
{
    const struct command_program *program = call->program;
    size_t count = pflag_narg(call->flags);
    const char **rest = mem_array(count + 1, sizeof(*rest));
    size_t rest_count = 0;
    struct command_path path;
    struct buf text = {0};
    enum err err = command_find(program->root, pflag_args(call->flags), count, &path, rest,
                                &rest_count, &text);
    if (err != ERR_OK) {
        buf_reset(&text);
        buf_append_str(&text, "Unknown help topic ");
        append_topic(pflag_args(call->flags), count, &text);
        buf_append_byte(&text, '\n');
        program->print_error(program->ctx, buf_slice(&text));
        path = (struct command_path){.steps = {program->root}, .depth = 1};
    }
    buf_reset(&text);
    command_usage(program, &path, err == ERR_OK, &text);
    program->print(program->ctx, buf_slice(&text));
    buf_fini(&text);
    mem_free((void *)rest);
    return COMMAND_EXIT_OK;
}
