/* What happens between the flags and the server: default host, initial cluster, data directory. */
#include "server/config_priv.h"

#include "env/posix.h"
#include "unit.h"

#include <stdio.h>

/* ---- a disk that shows texts --------------------------------------------------------------------
 */

struct page {
    const char *path;
    const char *text;
};

struct page_disk {
    struct disk disk;
    const struct page *pages; /* up to a NULL path */
};

struct page_file {
    struct file file;
    const char *text;
};

static enum err page_open(struct disk *disk, const char *path, unsigned flags, struct file **out,
                          struct errbuf *why)
{
    const struct page *page = CONTAINER_OF(disk, struct page_disk, disk)->pages;
    assert_int_equal(flags, FILE_READ);
    for (; page->path != NULL; page++) {
        if (strcmp(page->path, path) == 0) {
            struct page_file *file = NEW(struct page_file);
            file->file = (struct file){.disk = disk, .path = mem_strdup(path)};
            file->text = page->text;
            *out = &file->file;
            return ERR_OK;
        }
    }
    return errf(why, ERR_NOT_FOUND, "open %s: no such file or directory", path);
}

/* Seven bytes at a time, as a file under /proc may. */
static enum err page_pread(struct file *file, void *data, size_t len, uint64_t offset,
                           size_t *n_out, struct errbuf *why)
{
    const char *text = CONTAINER_OF(file, struct page_file, file)->text;
    size_t whole = strlen(text);
    size_t left = offset < whole ? whole - (size_t)offset : 0;
    UNUSED(why);
    *n_out = left < 7 ? left : 7;
    *n_out = *n_out < len ? *n_out : len;
    memcpy(data, text + (left == 0 ? 0 : offset), *n_out);
    return ERR_OK;
}

static void page_close(struct file *file)
{
    mem_free(file->path);
    mem_free(CONTAINER_OF(file, struct page_file, file));
}

static enum err no_list(struct disk *disk, const char *path,
                        void (*each)(const char *name, void *ctx), void *ctx, struct errbuf *why)
{
    UNUSED(disk);
    UNUSED(each);
    UNUSED(ctx);
    return errf(why, ERR_PERM, "open %s: permission denied", path);
}

static const struct disk_ops page_ops = {
    .open = page_open, .pread = page_pread, .close = page_close, .list = no_list};

#define ROUTE_HEAD                                                                                 \
    "Iface\tDestination\tGateway\tFlags\tRefCnt\tUse\tMetric\tMask\tMTU\tWindow\tIRTT\n"
#define TRIE                                                                                       \
    "Main:\n  +-- 0.0.0.0/0 3 0 5\n     |-- 0.0.0.0\n        /0 universe UNICAST\n"                \
    "     +-- 127.0.0.0/8 2 0 2\n        |-- 127.0.0.1\n           /32 host LOCAL\n"               \
    "     |-- 10.1.0.0\n        /16 link UNICAST\n     |-- 172.17.0.1\n        /32 host LOCAL\n"   \
    "     |-- 10.1.2.3\n        /32 host LOCAL\n     |-- 10.1.255.255\n        /32 link "          \
    "BROADCAST\n"

static const struct page machine[] = {
    {"/proc/net/route", ROUTE_HEAD "docker0\t000011AC\t00000000\t0001\t0\t0\t0\t0000FFFF\t0\t0\t0\n"
                                   "eth0\t00000000\t0100010A\t0003\t0\t0\t0\t00000000\t0\t0\t0\n"
                                   "eth0\t0000010A\t00000000\t0001\t0\t0\t0\t0000FFFF\t0\t0\t0\n"},
    {"/proc/net/fib_trie", TRIE},
    {NULL, NULL},
};
static const struct page lonely[] = {
    {"/proc/net/route",
     ROUTE_HEAD "docker0\t000011AC\t00000000\t0001\t0\t0\t0\t0000FFFF\t0\t0\t0\n"},
    {"/proc/net/fib_trie", TRIE},
    {NULL, NULL},
};
static const struct page bare[] = {{NULL, NULL}};

/* ---- runs
 * ------------------------------------------------------------------------------------------- */

struct start {
    struct page_disk disk;
    struct config *config;
    struct buf lines;
    enum config_verdict verdict;
};

static int64_t clock_fn(void *ctx)
{
    UNUSED(ctx);
    return 0;
}

static void capture(void *ctx, enum log_level level, struct slice text)
{
    UNUSED(level);
    buf_append_slice(ctx, text);
}

static void start_init(struct start *start, const struct page *pages, const char *line)
{
    static char copy[1024];
    const char *argv[32] = {"etcd"};
    int argc = 1;
    snprintf(copy, sizeof(copy), "%s", line);
    for (char *word = strtok(copy, " "); word != NULL; word = strtok(NULL, " ")) {
        argv[argc++] = word;
    }
    *start = (struct start){.disk = {.disk = {&page_ops}, .pages = pages}};
    struct config_input in = {
        .argc = argc,
        .argv = argv,
        .disk = &start->disk.disk,
        .clock = clock_fn,
        .standard_out = {capture, &start->lines},
        .standard_error = {capture, &start->lines},
    };
    int status;
    start->verdict = config_load(&in, &start->config, &status);
    assert_int_equal(start->verdict, CONFIG_RUN);
}

static void start_fini(struct start *start)
{
    config_free(&start->config);
    buf_fini(&start->lines);
}

static bool said(struct start *start, const char *text)
{
    return strstr(buf_cstr(&start->lines), text) != NULL;
}

/* ---- the default host
 * -------------------------------------------------------------------------------- */

TEST(config_start, listening_everywhere_advertises_the_default_routes_address)
{
    struct start start;
    start_init(&start, machine,
               "--name m1 --listen-client-urls http://0.0.0.0:1234 --advertise-client-urls "
               "http://localhost:2379 --listen-peer-urls http://0.0.0.0:1235");
    const struct config *config = start.config;
    assert_string_equal(config->advertise_client_urls.items[0].text, "http://10.1.2.3:1234");
    assert_string_equal(config->initial_advertise_peer_urls.items[0].text, "http://10.1.2.3:1235");
    assert_string_equal(config->initial_cluster, "m1=http://10.1.2.3:1235");
    assert_true(said(&start, "\"msg\":\"detected default host for advertise\",\"host\":"
                             "\"10.1.2.3\"}"));
    start_fini(&start);
}

TEST(config_start, what_is_advertised_on_purpose_stays)
{
    struct start start;
    start_init(&start, machine,
               "--name m1 --listen-client-urls http://0.0.0.0:1234 --advertise-client-urls "
               "http://10.9.9.9:1 --listen-peer-urls http://127.0.0.1:1235");
    assert_string_equal(start.config->advertise_client_urls.items[0].text, "http://10.9.9.9:1");
    assert_string_equal(start.config->initial_advertise_peer_urls.items[0].text,
                        "http://localhost:2380");
    assert_false(said(&start, "default host"));
    start_fini(&start);
}

TEST(config_start, without_a_default_route_the_defaults_stay)
{
    static const struct page *const worlds[] = {lonely, bare};
    static const char *const reasons[] = {"could not find default route",
                                          "open /proc/net/route: no such file or directory"};
    for (size_t i = 0; i < ARRAY_LEN(worlds); i++) {
        struct start start;
        start_init(&start, worlds[i], "--name m1 --listen-peer-urls http://0.0.0.0:1235");
        assert_string_equal(start.config->initial_advertise_peer_urls.items[0].text,
                            "http://localhost:2380");
        assert_string_equal(start.config->initial_cluster, "m1=http://localhost:2380");
        assert_true(said(&start, "\"msg\":\"failed to detect default host\",\"error\":\""));
        assert_true(said(&start, reasons[i]));
        start_fini(&start);
    }
}

/* ---- the initial cluster
 * ------------------------------------------------------------------------------ */

TEST(config_start, a_cluster_that_fits_is_taken)
{
    struct start start;
    struct url_map map;
    struct errbuf why;
    start_init(&start, bare,
               "--name m1 --initial-cluster m1=http://b:2,m1=http://a:1 "
               "--initial-advertise-peer-urls http://a:1,http://b:2");
    assert_int_equal(config_bootstrap(start.config, &map, &why), ERR_OK);
    assert_int_equal(map.count, 1);
    assert_int_equal(map.items[0].urls.count, 2);
    start_fini(&start);
}

TEST(config_start, a_cluster_that_does_not_fit_is_refused_in_etcds_words)
{
    static const struct {
        const char *line;
        const char *sentence;
    } cases[] = {
        {"--name m1 --initial-cluster m2=http://localhost:2380",
         "couldn't find local name \"m1\" in the initial cluster configuration"},
        {"--name m1 --initial-cluster=",
         "couldn't find local name \"m1\" in the initial cluster configuration"},
        {"--name m1 --initial-cluster m1",
         "error setting up initial cluster: URL scheme must be http, https, unix, or unixs: "},
        {"--name m1 --initial-cluster m1=http://a:1",
         "--initial-cluster has m1=http://a:1 but missing from "
         "--initial-advertise-peer-urls=http://localhost:2380 (resolved urls: "
         "\"http://localhost:2380\" != \"http://a:1\")"},
        {"--name m1 --initial-cluster m1=http://a:1 --initial-advertise-peer-urls "
         "http://a:1,http://b:1",
         "--initial-advertise-peer-urls has http://b:1 but missing from "
         "--initial-cluster=m1=http://a:1,m1=http://b:1"},
        {"--name m1 --initial-cluster m1=http://a:1,m1=http://a:1 --initial-advertise-peer-urls "
         "http://a:1",
         "failed to resolve http://a:1 to match --initial-cluster=m1=http://a:1 "
         "(len([\"http://a:1\"]) != len([\"http://a:1\" \"http://a:1\"]))"},
        {"--name m1 --initial-cluster-state existing",
         "--initial-cluster-state=existing: joining a running cluster is not built yet; start with "
         "new, or on the member's own data directory"},
    };
    for (size_t i = 0; i < ARRAY_LEN(cases); i++) {
        struct start start;
        struct url_map map = {.count = 77};
        struct errbuf why;
        print_message("# %s\n", cases[i].line);
        start_init(&start, bare, cases[i].line);
        assert_int_not_equal(config_bootstrap(start.config, &map, &why), ERR_OK);
        assert_string_equal(why.text, cases[i].sentence);
        assert_int_equal(map.count, 77);
        start_fini(&start);
    }
}

/* ---- the data directory
 * ------------------------------------------------------------------------------ */

static void start_in(struct start *start, const char *dir)
{
    char line[160];
    snprintf(line, sizeof(line), "--name m1 --data-dir %s", dir);
    start_init(start, bare, line);
    buf_reset(&start->lines);
}

static void make_dir(const char *dir, const char *name)
{
    char path[160];
    snprintf(path, sizeof(path), "%s/%s", dir, name);
    assert_int_equal(disk_mkdir(posix_disk(), path, 0700, NULL), ERR_OK);
}

TEST(config_start, a_directory_is_new_or_a_members)
{
    const char *dir = test_dir();
    struct start start;
    enum config_dir kind = CONFIG_DIR_PROXY;
    start_in(&start, "/nonexistent/etcd");
    assert_int_equal(config_identify_dir(start.config, posix_disk(), &kind), ERR_OK);
    assert_int_equal(kind, CONFIG_DIR_EMPTY);
    assert_true(said(&start, "\"msg\":\"Initialize and start etcd server\",\"data-dir\":"
                             "\"/nonexistent/etcd\",\"dir-type\":\"empty\"}"));
    start_fini(&start);
    start_in(&start, dir);
    make_dir(dir, "lost+found");
    assert_int_equal(config_identify_dir(start.config, posix_disk(), &kind), ERR_OK);
    assert_int_equal(kind, CONFIG_DIR_EMPTY);
    assert_true(said(&start, "\"msg\":\"found invalid file under data directory\",\"filename\":"
                             "\"lost+found\",\"data-dir\":\""));
    make_dir(dir, "member");
    assert_int_equal(config_identify_dir(start.config, posix_disk(), &kind), ERR_OK);
    assert_int_equal(kind, CONFIG_DIR_MEMBER);
    assert_true(said(&start, "\"msg\":\"server has already been initialized\""));
    assert_true(said(&start, "\"dir-type\":\"member\"}"));
    start_fini(&start);
}

TEST(config_start, a_proxys_directory_or_a_closed_one_is_fatal)
{
    const char *dir = test_dir();
    struct start start;
    enum config_dir kind = CONFIG_DIR_EMPTY;
    start_in(&start, dir);
    make_dir(dir, "proxy");
    assert_int_equal(config_identify_dir(start.config, posix_disk(), &kind), ERR_UNSUPPORTED);
    assert_true(said(&start, "{\"level\":\"fatal\""));
    assert_true(said(&start, "v2 http proxy has already been deprecated in 3.6"));
    make_dir(dir, "member");
    assert_int_equal(config_identify_dir(start.config, posix_disk(), &kind), ERR_INVALID);
    assert_true(said(&start, "invalid datadir; both member and proxy directories exist"));
    assert_int_equal(config_identify_dir(start.config, &start.disk.disk, &kind), ERR_PERM);
    assert_true(said(&start, "\"msg\":\"failed to list data directory\",\"dir\":"));
    assert_true(said(&start, ": permission denied\"}"));
    assert_int_equal(kind, CONFIG_DIR_EMPTY);
    start_fini(&start);
}
