/* Replays transcripts: blocks of a command, its input, "----" and what it answers.
 *
 * test/raft/ tells our stories; REWRITE=1 writes down what is answered today. The scripts of
 * etcd-io/raft are not part of this repository: they are found beside it, or skipped. */
#include "raft/raft_transcript.h"

#include "unit.h"

#include <dirent.h>
#include <stdio.h>
#include <stdlib.h>

#define OURS "test/raft"
#define ORACLE "../shared/oracles/raft-testdata"

struct script {
    struct buf text;
    size_t next; /* first byte not read */
    size_t line;
};

static bool file_read(const char *path, struct buf *out)
{
    FILE *in = fopen(path, "rb");
    if (in == NULL) {
        return false;
    }
    size_t got;
    do {
        got = fread(buf_reserve(out, 65536), 1, 65536, in);
        out->len += got;
    } while (got > 0);
    fclose(in);
    return true;
}

/* The next line, without its end; false after the last. */
static bool script_line(struct script *script, struct slice *out)
{
    struct slice rest = slice_skip(buf_slice(&script->text), script->next);
    if (rest.len == 0) {
        return false;
    }
    slice_split(rest, '\n', out);
    script->next += out->len + (out->len < rest.len);
    script->line++;
    return true;
}

static void word_copy(char *to, size_t size, struct slice word)
{
    ASSERT(word.len < size);
    memcpy(to, word.data, word.len);
    to[word.len] = '\0';
}

static void arg_parse(struct slice word, struct arg *out)
{
    struct slice key;
    struct slice value = slice_split(word, '=', &key);
    word_copy(out->key, sizeof(out->key), key);
    out->value_count = 0;
    if (value.len == 0) {
        return;
    }
    if (value.data[0] == '(') {
        ASSERT(value.data[value.len - 1] == ')');
        value = slice_of(value.data + 1, value.len - 2);
    }
    while (value.len > 0) {
        struct slice item;
        value = slice_split(value, ',', &item);
        ASSERT(out->value_count < ARG_VALUES_MAX);
        word_copy(out->values[out->value_count++], sizeof(out->values[0]), item);
    }
}

static void command_parse(struct slice line, struct command *out)
{
    struct slice word;
    struct slice rest = slice_split(line, ' ', &word);
    word_copy(out->name, sizeof(out->name), word);
    out->arg_count = 0;
    while (rest.len > 0) {
        rest = slice_split(rest, ' ', &word);
        if (word.len > 0) {
            ASSERT(out->arg_count < ARGS_MAX);
            arg_parse(word, &out->args[out->arg_count++]);
        }
    }
}

/* Prints the two texts' first different line. */
static void report(const char *path, size_t line, struct slice want, struct slice got)
{
    for (;; line++) {
        struct slice want_line;
        struct slice got_line;
        want = slice_split(want, '\n', &want_line);
        got = slice_split(got, '\n', &got_line);
        if (!slice_eq(want_line, got_line)) {
            printf("# %s:%zu\n#   expected %.*s\n#   got      %.*s\n", path, line,
                   (int)want_line.len, (const char *)want_line.data, (int)got_line.len,
                   (const char *)got_line.data);
            return;
        }
        if (want.len == 0 && got.len == 0) {
            return;
        }
    }
}

/* Reads one block's input and expected output. */
static void block_read(struct script *script, struct buf *input, struct buf *want, struct buf *copy)
{
    struct slice line;
    while (script_line(script, &line) && !slice_eq_str(line, "----")) {
        buf_append_slice(input, line);
        buf_append_byte(input, ' ');
        buf_append_slice(copy, line);
        buf_append_byte(copy, '\n');
    }
    buf_append_str(copy, "----\n");
    while (script_line(script, &line) && line.len > 0) {
        buf_append_slice(want, line);
        buf_append_byte(want, '\n');
    }
}

/* Runs one script; `copy` gets it with today's answers. True if they are the expected ones. */
static bool script_run(const char *path, struct buf *copy)
{
    struct script script = {0};
    struct world *world = NEW(struct world);
    struct buf input = {0};
    struct buf want = {0};
    struct buf got = {0};
    bool is_same = true;
    struct slice line;
    if (!file_read(path, &script.text)) {
        fatal("%s: cannot be read", path);
    }
    world_init(world);
    while (is_same && script_line(&script, &line)) {
        buf_append_slice(copy, line);
        buf_append_byte(copy, '\n');
        if (line.len == 0 || line.data[0] == '#') {
            continue;
        }
        struct command command;
        command_parse(line, &command);
        buf_reset(&input);
        buf_reset(&want);
        buf_reset(&got);
        block_read(&script, &input, &want, copy);
        size_t first = script.line - 1;
        command.input = buf_cstr(&input);
        buf_append_str(&got, world_run(world, &command));
        if (got.data[got.len - 1] != '\n') {
            buf_append_byte(&got, '\n');
        }
        buf_append_slice(copy, buf_slice(&got));
        buf_append_byte(copy, '\n');
        if (!slice_eq(buf_slice(&got), buf_slice(&want)) && !test_rewrite()) {
            is_same = false;
            struct slice lines = buf_slice(&want);
            for (size_t i = 0; i < lines.len; i++) {
                first -= lines.data[i] == '\n';
            }
            report(path, first + 1, lines, buf_slice(&got));
        }
    }
    world_fini(world);
    mem_free(world);
    buf_fini(&input);
    buf_fini(&want);
    buf_fini(&got);
    buf_fini(&script.text);
    return is_same;
}

static int is_script(const struct dirent *entry)
{
    size_t len = strlen(entry->d_name);
    return len > 4 && strcmp(entry->d_name + len - 4, ".txt") == 0;
}

/* Runs every script of the folder; gives how many there are and how many differ. */
static void folder_run(const char *folder, bool may_rewrite, int *count, int *differing)
{
    struct dirent **entries = NULL;
    *count = scandir(folder, &entries, is_script, alphasort);
    *differing = 0;
    for (int i = 0; i < *count; i++) {
        struct buf copy = {0};
        char path[512];
        snprintf(path, sizeof(path), "%s/%s", folder, entries[i]->d_name);
        bool is_same = script_run(path, &copy);
        *differing += !is_same;
        printf("# %s %s\n", is_same ? "ok  " : "FAIL", entries[i]->d_name);
        if (may_rewrite && test_rewrite()) {
            while (copy.len > 1 && copy.data[copy.len - 2] == '\n') {
                copy.len--; /* no empty line at the end */
            }
            FILE *out = fopen(path, "wb");
            ASSERT(out != NULL);
            ASSERT(fwrite(copy.data, 1, copy.len, out) == copy.len);
            fclose(out);
        }
        buf_fini(&copy);
        free(entries[i]);
    }
    free(entries);
}

TEST(raft_transcript, our_stories_end_as_they_were_told)
{
    int count;
    int differing;
    folder_run(OURS, true, &count, &differing);
    assert_true(count > 0);
    assert_int_equal(differing, 0);
}

TEST(raft_transcript, the_scripts_of_etcd_raft_get_its_answers)
{
    int count;
    int differing;
    DIR *dir = opendir(ORACLE);
    if (dir == NULL) {
        TEST_SKIP("the scripts of etcd's raft are not in " ORACLE);
    }
    closedir(dir);
    folder_run(ORACLE, false, &count, &differing);
    assert_true(count > 0);
    assert_int_equal(differing, 0);
}
