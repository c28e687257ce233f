#include "server/logging.h"

#include "env/posix.h"
#include "unit.h"

#include <stdio.h>
#include <stdlib.h>
#include <sys/stat.h>
#include <unistd.h>

#define ROTATION "{\"maxsize\": 1, \"maxage\": 0, \"maxbackups\": 2, \"localtime\": false}"
/* 2026-11-20T11:40:00Z */
#define NOW_NS (INT64_C(1795174800) * 1000000000)

struct world {
    int64_t now_ns;
    struct buf out;
    struct buf err;
};

static int64_t clock_fn(void *ctx)
{
    return ((struct world *)ctx)->now_ns;
}

static void capture(void *ctx, enum log_level level, struct slice text)
{
    UNUSED(level);
    buf_append_slice(ctx, text);
}

static struct logging_options options_of(struct world *world, const char *const *outputs,
                                         size_t count)
{
    *world = (struct world){.now_ns = NOW_NS};
    return (struct logging_options){
        .logger = "zap",
        .outputs = outputs,
        .output_count = count,
        .level = "info",
        .format = "json",
        .disk = posix_disk(),
        .clock = clock_fn,
        .clock_ctx = world,
        .standard_out = {capture, &world->out},
        .standard_error = {capture, &world->err},
    };
}

static void world_fini(struct world *world)
{
    buf_fini(&world->out);
    buf_fini(&world->err);
}

static struct logging *open_ok(const struct logging_options *options)
{
    struct logging *logging = NULL;
    struct errbuf why = {{0}};
    enum err err = logging_open(options, &logging, &why);
    if (err != ERR_OK) {
        print_message("# %s\n", why.text);
    }
    assert_int_equal(err, ERR_OK);
    return logging;
}

static void say(struct logging *logging, const char *message)
{
    struct log log = log_handle(logging_core(logging), NULL);
    LOG_INFO(&log, message);
}

TEST(logging, streams_get_lines_once_each)
{
    static const char *const outputs[] = {"stderr", "stdout", "stderr"};
    struct world world;
    struct logging_options options = options_of(&world, outputs, 3);
    struct logging *logging = open_ok(&options);
    say(logging, "hello");
    logging_close(&logging);
    assert_null(logging);
    assert_non_null(strstr(buf_cstr(&world.out), "\"msg\":\"hello\"}\n"));
    assert_int_equal(world.out.len, world.err.len);
    world_fini(&world);
}

TEST(logging, default_is_standard_error_and_dev_null_is_silence)
{
    static const char *const standard[] = {"default"};
    static const char *const silent[] = {"stdout", "/dev/null"};
    struct world world;
    struct logging_options options = options_of(&world, standard, 1);
    struct logging *logging = open_ok(&options);
    say(logging, "hello");
    logging_close(&logging);
    assert_int_equal(world.out.len, 0);
    assert_true(world.err.len > 0);
    world_fini(&world);
    options = options_of(&world, NULL, 0);
    logging = open_ok(&options);
    say(logging, "hello");
    logging_close(&logging);
    assert_true(world.err.len > 0);
    world_fini(&world);
    options = options_of(&world, silent, 2);
    logging = open_ok(&options);
    say(logging, "hello");
    logging_close(&logging);
    assert_int_equal(world.out.len + world.err.len, 0);
    world_fini(&world);
}

static void read_file(const char *path, struct buf *out)
{
    struct errbuf why;
    buf_reset(out);
    assert_int_equal(disk_read_file(posix_disk(), path, 1 << 24, out, &why), ERR_OK);
}

TEST(logging, a_file_is_appended_to_and_readable_by_all)
{
    char path[128];
    const char *outputs[] = {path};
    struct world world;
    struct buf text = {0};
    struct stat info;
    snprintf(path, sizeof(path), "%s/etcd.log", test_dir());
    struct logging_options options = options_of(&world, outputs, 1);
    options.format = "console";
    for (int i = 0; i < 2; i++) {
        struct logging *logging = open_ok(&options);
        say(logging, i == 0 ? "first" : "second");
        logging_close(&logging);
    }
    read_file(path, &text);
    assert_non_null(strstr(buf_cstr(&text), "2026-11-20T11:40:00.000000Z\tinfo\t"));
    assert_non_null(strstr(buf_cstr(&text), "\tfirst\n2026-"));
    assert_non_null(strstr(buf_cstr(&text), "\tsecond\n"));
    assert_int_equal(stat(path, &info), 0);
    assert_int_equal(info.st_mode & 0777, 0644);
    assert_int_equal(world.err.len, 0);
    buf_fini(&text);
    world_fini(&world);
}

static void count_name(const char *name, void *ctx)
{
    struct buf *names = ctx;
    buf_printf(names, "%s\n", name);
}

/* Writes over a megabyte, a tenth of one at a time. */
static void fill(struct logging *logging)
{
    struct log log = log_handle(logging_core(logging), NULL);
    struct buf long_text = {0};
    memset(buf_extend(&long_text, 110000), 'x', 110000);
    for (int i = 0; i < 10; i++) {
        char message[16];
        snprintf(message, sizeof(message), "part %d", i);
        LOG_INFO(&log, message, log_slice("text", buf_slice(&long_text)));
    }
    buf_fini(&long_text);
}

TEST(logging, a_full_file_is_put_away_and_old_ones_are_removed)
{
    char dir[64];
    char path[128];
    const char *outputs[] = {path};
    struct world world;
    struct buf names = {0};
    snprintf(dir, sizeof(dir), "%s", test_dir());
    snprintf(path, sizeof(path), "%s/etcd.log", dir);
    struct logging_options options = options_of(&world, outputs, 1);
    options.rotate = true;
    options.rotation_json = ROTATION;
    struct logging *logging = open_ok(&options);
    for (int i = 0; i < 4; i++) {
        world.now_ns = NOW_NS + i * INT64_C(60000000000);
        fill(logging);
    }
    logging_close(&logging);
    assert_int_equal(disk_list(posix_disk(), dir, count_name, &names, NULL), ERR_OK);
    assert_string_equal(buf_cstr(&names), "etcd-2026-11-20T11-42-00.000.log\n"
                                          "etcd-2026-11-20T11-43-00.000.log\n"
                                          "etcd.log\n");
    assert_int_equal(world.err.len, 0);
    buf_fini(&names);
    world_fini(&world);
}

TEST(logging, files_past_their_age_are_removed_and_strangers_are_not)
{
    static const char *const before[] = {
        "etcd-2026-11-17T11-40-00.000.log", "etcd-2026-11-19T11-40-00.000.log",
        "etcd-2026-11-17T11-40-00.000.txt", "etcd-mine.log", "other-2026-11-17T11-40-00.000.log"};
    char dir[64];
    char path[160];
    char log_path[128];
    const char *outputs[] = {log_path};
    struct world world;
    struct buf names = {0};
    struct errbuf why;
    snprintf(dir, sizeof(dir), "%s", test_dir());
    snprintf(log_path, sizeof(log_path), "%s/etcd.log", dir);
    for (size_t i = 0; i < ARRAY_LEN(before); i++) {
        snprintf(path, sizeof(path), "%s/%s", dir, before[i]);
        assert_int_equal(disk_write_file(posix_disk(), path, SLICE("x"), &why), ERR_OK);
    }
    struct logging_options options = options_of(&world, outputs, 1);
    options.rotate = true;
    options.rotation_json = "{\"maxsize\": 1, \"maxage\": 2}";
    struct logging *logging = open_ok(&options);
    fill(logging);
    logging_close(&logging);
    assert_int_equal(disk_list(posix_disk(), dir, count_name, &names, NULL), ERR_OK);
    assert_string_equal(buf_cstr(&names), "etcd-2026-11-17T11-40-00.000.txt\n"
                                          "etcd-2026-11-19T11-40-00.000.log\n"
                                          "etcd-2026-11-20T11-40-00.000.log\n"
                                          "etcd-mine.log\n"
                                          "etcd.log\n"
                                          "other-2026-11-17T11-40-00.000.log\n");
    buf_fini(&names);
    world_fini(&world);
}

TEST(logging, a_line_the_file_does_not_take_goes_to_standard_error)
{
    char dir[64];
    char path[128];
    const char *outputs[] = {path};
    struct world world;
    snprintf(dir, sizeof(dir), "%s/sub", test_dir());
    snprintf(path, sizeof(path), "%s/etcd.log", dir);
    assert_int_equal(disk_mkdir(posix_disk(), dir, 0700, NULL), ERR_OK);
    struct logging_options options = options_of(&world, outputs, 1);
    options.rotate = true;
    options.rotation_json = ROTATION;
    struct logging *logging = open_ok(&options);
    fill(logging);
    assert_int_equal(world.err.len, 0);
    char command[160];
    snprintf(command, sizeof(command), "rm -r %s", dir);
    assert_int_equal(system(command), 0);
    fill(logging);
    assert_non_null(strstr(buf_cstr(&world.err), "\"msg\":\"part 9\""));
    logging_close(&logging);
    world_fini(&world);
}

TEST(logging, what_cannot_be_is_refused)
{
    static const struct {
        const char *output;
        bool rotate;
        const char *json;
        const char *sentence;
    } cases[] = {
        {"/nonexistent/dir/etcd.log", false, NULL,
         "open sink \"/nonexistent/dir/etcd.log\": open /nonexistent/dir/etcd.log: no such file or "
         "directory"},
        {"", false, NULL, "--log-outputs names an empty path"},
        {"systemd/journal", false, NULL, "--log-outputs=systemd/journal is not built yet"},
        {"stdout", true, ROTATION,
         "--log-outputs requires a single file path when --log-rotate-config-json is defined"},
        {"f", true, "{", "improperly formatted log rotation config: "},
        {"f", true, "[]", "invalid log rotation config: it must be a JSON object"},
        {"f", true, "{\"maxsize\": \"a\"}",
         "invalid log rotation config: maxsize must be a whole number from 0 to "},
        {"f", true, "{\"maxage\": -1}",
         "invalid log rotation config: maxage must be a whole number from 0 to 36500"},
        {"f", true, "{\"maxbackups\": 1e30}", "invalid log rotation config: maxbackups must be"},
        {"f", true, "{\"compress\": true}",
         "--log-rotation-config-json: \"compress\": true is not built yet"},
    };
    for (size_t i = 0; i < ARRAY_LEN(cases); i++) {
        struct world world;
        struct logging *logging = NULL;
        struct errbuf why = {{0}};
        struct logging_options options = options_of(&world, &cases[i].output, 1);
        options.rotate = cases[i].rotate;
        options.rotation_json = cases[i].json;
        print_message("# %s %s\n", cases[i].output, cases[i].json == NULL ? "" : cases[i].json);
        assert_int_not_equal(logging_open(&options, &logging, &why), ERR_OK);
        assert_null(logging);
        print_message("# %s\n", why.text);
        assert_memory_equal(why.text, cases[i].sentence, strlen(cases[i].sentence));
        world_fini(&world);
    }
}

TEST(logging, too_many_outputs_are_refused)
{
    const char *outputs[LOG_SINKS_MAX + 1];
    struct world world;
    struct logging *logging = NULL;
    struct errbuf why;
    for (size_t i = 0; i < ARRAY_LEN(outputs); i++) {
        outputs[i] = "stdout";
    }
    struct logging_options options = options_of(&world, outputs, ARRAY_LEN(outputs));
    assert_int_equal(logging_open(&options, &logging, &why), ERR_INVALID);
    assert_string_equal(why.text, "--log-outputs may name at most 16 outputs, these are 17");
    world_fini(&world);
}
