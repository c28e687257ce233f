#include "base/mem.h"
#include "env/posix.h"

#include "unit.h"

#include <fcntl.h>
#include <signal.h>
#include <stdio.h>
#include <sys/file.h>
#include <sys/resource.h>
#include <sys/stat.h>
#include <time.h>
#include <unistd.h>

static char path_text[8][256];

/* "<dir>/<name>" in one of eight slots. */
static const char *in_dir(const char *dir, const char *name)
{
    static unsigned next;
    char *out = path_text[next++ % 8];
    snprintf(out, sizeof(path_text[0]), "%s/%s", dir, name);
    return out;
}

static struct file *open_new(const char *path)
{
    struct file *file = NULL;
    struct errbuf why;
    assert_int_equal(disk_open(posix_disk(), path,
                               FILE_READ | FILE_WRITE | FILE_CREATE | FILE_EXCLUSIVE, &file, &why),
                     ERR_OK);
    return file;
}

static uint64_t resident_file_kb(void)
{
    char line[256];
    unsigned long long kb = 0;
    FILE *status = fopen("/proc/self/status", "r");
    assert_non_null(status);
    while (fgets(line, sizeof(line), status) != NULL) {
        if (sscanf(line, "RssFile: %llu", &kb) == 1) {
            break;
        }
    }
    fclose(status);
    return kb;
}

static void collect(const char *name, void *ctx)
{
    buf_printf(ctx, "%s ", name);
}

static void assert_listing(const char *dir, const char *expected)
{
    struct buf names = {0};
    assert_int_equal(disk_list(posix_disk(), dir, collect, &names, NULL), ERR_OK);
    assert_string_equal(buf_cstr(&names), expected);
    buf_fini(&names);
}

TEST(posix_disk, what_is_written_is_read_back_and_reads_stop_at_the_end)
{
    struct file *file = open_new(in_dir(test_dir(), "a"));
    char data[16];
    size_t got;
    uint64_t size;
    assert_int_equal(file_pwrite(file, "hello", 5, 3, NULL), ERR_OK);
    assert_int_equal(file_size(file, &size, NULL), ERR_OK);
    assert_int_equal(size, 8);
    assert_int_equal(file_pread(file, data, sizeof(data), 0, &got, NULL), ERR_OK);
    assert_int_equal(got, 8);
    assert_memory_equal(data, "\0\0\0hello", 8);
    assert_int_equal(file_pread(file, data, sizeof(data), 100, &got, NULL), ERR_OK);
    assert_int_equal(got, 0);
    assert_int_equal(file_pread_all(file, data, 5, 3, NULL), ERR_OK);
    struct errbuf why;
    assert_int_equal(file_pread_all(file, data, 6, 3, &why), ERR_EOF);
    assert_non_null(strstr(why.text, file->path));
    assert_int_equal(file_sync(file, NULL), ERR_OK);
    assert_int_equal(file_sync_data(file, NULL), ERR_OK);
    file_close(&file);
    assert_null(file);
    file_close(&file);
}

TEST(posix_disk, files_are_private_and_do_not_leak_into_children)
{
    const char *path = in_dir(test_dir(), "a");
    struct file *file = open_new(path);
    struct file_info info;
    assert_int_equal(disk_stat(posix_disk(), path, &info, NULL), ERR_OK);
    assert_int_equal(info.mode, 0600);
    assert_false(info.is_dir);
    unsigned found = 0;
    for (int fd = 3; fd < 1024; fd++) {
        struct stat ours;
        struct stat it;
        if (fstat(fd, &it) == 0 && stat(path, &ours) == 0 && it.st_ino == ours.st_ino) {
            assert_int_equal(fcntl(fd, F_GETFD) & FD_CLOEXEC, FD_CLOEXEC);
            found++;
        }
    }
    assert_int_equal(found, 1);
    file_close(&file);
}

TEST(posix_disk, open_refuses_with_the_reason_and_the_path)
{
    const char *dir = test_dir();
    const char *path = in_dir(dir, "a");
    struct disk *disk = posix_disk();
    struct file *file = NULL;
    struct errbuf why;
    assert_int_equal(disk_open(disk, path, FILE_READ, &file, &why), ERR_NOT_FOUND);
    assert_non_null(strstr(why.text, path));
    assert_null(file);
    file = open_new(path);
    struct file *second = NULL;
    assert_int_equal(
        disk_open(disk, path, FILE_WRITE | FILE_CREATE | FILE_EXCLUSIVE, &second, &why),
        ERR_EXISTS);
    assert_null(second);
    assert_int_equal(disk_open(disk, dir, FILE_WRITE, &second, &why), ERR_IO);
    assert_non_null(strstr(why.text, "directory"));
    file_close(&file);
    if (geteuid() != 0) {
        assert_int_equal(disk_chmod(disk, path, 0, &why), ERR_OK);
        assert_int_equal(disk_open(disk, path, FILE_READ, &file, &why), ERR_PERM);
    }
}

TEST(posix_disk, truncate_flag_and_call_cut_and_grow)
{
    const char *path = in_dir(test_dir(), "a");
    struct file *file = open_new(path);
    uint64_t size;
    char byte;
    assert_int_equal(file_pwrite(file, "abc", 3, 0, NULL), ERR_OK);
    assert_int_equal(file_truncate(file, 10, NULL), ERR_OK);
    assert_int_equal(file_pread_all(file, &byte, 1, 9, NULL), ERR_OK);
    assert_int_equal(byte, 0);
    file_close(&file);
    assert_int_equal(
        disk_open(posix_disk(), path, FILE_READ | FILE_WRITE | FILE_TRUNCATE, &file, NULL), ERR_OK);
    assert_int_equal(file_size(file, &size, NULL), ERR_OK);
    assert_int_equal(size, 0);
    file_close(&file);
}

TEST(posix_disk, preallocating_grows_but_never_shrinks_and_reads_as_zero)
{
    struct file *file = open_new(in_dir(test_dir(), "a"));
    uint64_t size;
    char data[8] = "xxxxxxx";
    assert_int_equal(file_preallocate(file, 1 << 20, NULL), ERR_OK);
    assert_int_equal(file_size(file, &size, NULL), ERR_OK);
    assert_int_equal(size, 1 << 20);
    assert_int_equal(file_pread_all(file, data, 8, (1 << 20) - 8, NULL), ERR_OK);
    assert_memory_equal(data, "\0\0\0\0\0\0\0\0", 8);
    assert_int_equal(file_preallocate(file, 4096, NULL), ERR_OK);
    assert_int_equal(file_size(file, &size, NULL), ERR_OK);
    assert_int_equal(size, 1 << 20);
    file_close(&file);
}

TEST(posix_disk, a_file_too_large_for_its_limit_is_refused)
{
    const char *path = in_dir(test_dir(), "a");
    struct buf out = {0};
    struct errbuf why;
    buf_append_str(&out, "kept");
    assert_int_equal(disk_write_file(posix_disk(), path, SLICE("0123456789"), &why), ERR_OK);
    assert_int_equal(disk_read_file(posix_disk(), path, 9, &out, &why), ERR_TOO_LARGE);
    assert_true(slice_eq(buf_slice(&out), SLICE("kept")));
    assert_int_equal(disk_read_file(posix_disk(), path, 10, &out, &why), ERR_OK);
    assert_true(slice_eq(buf_slice(&out), SLICE("kept0123456789")));
    assert_int_equal(disk_write_file(posix_disk(), path, SLICE("new"), &why), ERR_OK);
    buf_reset(&out);
    assert_int_equal(disk_read_file(posix_disk(), path, 10, &out, &why), ERR_OK);
    assert_true(slice_eq(buf_slice(&out), SLICE("new")));
    /* Files of /proc say they are empty. */
    buf_reset(&out);
    assert_int_equal(disk_read_file(posix_disk(), "/proc/self/stat", 65536, &out, &why), ERR_OK);
    assert_true(out.len > 20);
    assert_int_equal(disk_read_file(posix_disk(), "/proc/self/stat", 10, &out, &why),
                     ERR_TOO_LARGE);
    buf_fini(&out);
}

TEST(posix_disk, directories_are_made_listed_in_order_and_removed)
{
    const char *dir = test_dir();
    struct disk *disk = posix_disk();
    struct errbuf why;
    char deep[256];
    snprintf(deep, sizeof(deep), "%s/x//y/z/", dir);
    assert_int_equal(disk_mkdir_all(disk, deep, 0700, &why), ERR_OK);
    assert_int_equal(disk_mkdir_all(disk, deep, 0700, &why), ERR_OK);
    struct file_info info;
    assert_int_equal(disk_stat(disk, deep, &info, &why), ERR_OK);
    assert_true(info.is_dir);
    assert_int_equal(info.mode, 0700);
    assert_int_equal(disk_mkdir(disk, in_dir(dir, "x"), 0700, &why), ERR_EXISTS);
    assert_int_equal(disk_mkdir(disk, in_dir(dir, "no/parent"), 0700, &why), ERR_NOT_FOUND);
    assert_int_equal(disk_write_file(disk, in_dir(dir, "b"), SLICE(""), &why), ERR_OK);
    assert_int_equal(disk_write_file(disk, in_dir(dir, "B"), SLICE(""), &why), ERR_OK);
    assert_int_equal(disk_write_file(disk, in_dir(dir, "a10"), SLICE(""), &why), ERR_OK);
    assert_int_equal(disk_write_file(disk, in_dir(dir, "a9"), SLICE(""), &why), ERR_OK);
    assert_listing(dir, "B a10 a9 b x ");
    assert_int_equal(disk_mkdir_all(disk, in_dir(dir, "b/c"), 0700, &why), ERR_EXISTS);
    assert_non_null(strstr(why.text, "not a directory"));
    assert_int_equal(disk_rmdir(disk, in_dir(dir, "x"), &why), ERR_IO);
    assert_int_equal(disk_rmdir(disk, deep, &why), ERR_OK);
    assert_int_equal(disk_sync_dir(disk, dir, &why), ERR_OK);
    assert_int_equal(disk_sync_dir(disk, deep, &why), ERR_NOT_FOUND);
    assert_int_equal(disk_list(disk, deep, collect, NULL, &why), ERR_NOT_FOUND);
    assert_non_null(strstr(why.text, "x//y/z"));
}

TEST(posix_disk, rename_replaces_and_unlink_removes)
{
    const char *dir = test_dir();
    struct disk *disk = posix_disk();
    struct buf out = {0};
    struct errbuf why;
    assert_int_equal(disk_write_file(disk, in_dir(dir, "a"), SLICE("1"), &why), ERR_OK);
    assert_int_equal(disk_write_file(disk, in_dir(dir, "b"), SLICE("2"), &why), ERR_OK);
    assert_int_equal(disk_rename(disk, in_dir(dir, "a"), in_dir(dir, "b"), &why), ERR_OK);
    assert_listing(dir, "b ");
    assert_int_equal(disk_read_file(disk, in_dir(dir, "b"), 10, &out, &why), ERR_OK);
    assert_true(slice_eq(buf_slice(&out), SLICE("1")));
    assert_int_equal(disk_rename(disk, in_dir(dir, "a"), in_dir(dir, "c"), &why), ERR_NOT_FOUND);
    assert_non_null(strstr(why.text, in_dir(dir, "a to ")));
    assert_int_equal(disk_unlink(disk, in_dir(dir, "b"), &why), ERR_OK);
    assert_int_equal(disk_unlink(disk, in_dir(dir, "b"), &why), ERR_NOT_FOUND);
    assert_false(disk_exists(disk, in_dir(dir, "b")));
    assert_true(disk_exists(disk, dir));
    buf_fini(&out);
}

TEST(posix_disk, a_lock_keeps_out_a_second_open_until_closed)
{
    static const struct {
        enum file_lock first;
        enum file_lock second;
        enum err err;
    } cases[] = {
        {FILE_LOCK_FLOCK_EXCLUSIVE, FILE_LOCK_FLOCK_EXCLUSIVE, ERR_LOCKED},
        {FILE_LOCK_FLOCK_EXCLUSIVE, FILE_LOCK_FLOCK_SHARED, ERR_LOCKED},
        {FILE_LOCK_FLOCK_SHARED, FILE_LOCK_FLOCK_EXCLUSIVE, ERR_LOCKED},
        {FILE_LOCK_FLOCK_SHARED, FILE_LOCK_FLOCK_SHARED, ERR_OK},
        {FILE_LOCK_OFD_EXCLUSIVE, FILE_LOCK_OFD_EXCLUSIVE, ERR_LOCKED},
        /* Different kinds do not know of each other, as on Linux for Go's etcd and bbolt. */
        {FILE_LOCK_OFD_EXCLUSIVE, FILE_LOCK_FLOCK_EXCLUSIVE, ERR_OK},
    };
    for (size_t i = 0; i < ARRAY_LEN(cases); i++) {
        const char *path = in_dir(test_dir(), "a");
        struct file *first = open_new(path);
        struct file *second = NULL;
        struct errbuf why;
        assert_int_equal(disk_open(posix_disk(), path, FILE_READ | FILE_WRITE, &second, &why),
                         ERR_OK);
        assert_int_equal(file_lock(first, cases[i].first, &why), ERR_OK);
        assert_int_equal(file_lock(second, cases[i].second, &why), cases[i].err);
        if (cases[i].err != ERR_OK) {
            assert_non_null(strstr(why.text, path));
        }
        file_close(&first);
        assert_int_equal(file_lock(second, cases[i].second, &why), ERR_OK);
        file_close(&second);
    }
}

TEST(posix_disk, a_mapping_sees_later_writes_and_may_reach_past_the_end)
{
    struct file *file = open_new(in_dir(test_dir(), "a"));
    const uint8_t *base;
    assert_int_equal(file_truncate(file, 8192, NULL), ERR_OK);
    assert_int_equal(file_map(file, 1 << 20, &base, NULL), ERR_OK);
    assert_int_equal(base[5000], 0);
    assert_int_equal(file_pwrite(file, "z", 1, 5000, NULL), ERR_OK);
    assert_int_equal(base[5000], 'z');
    assert_int_equal(file_truncate(file, 16384, NULL), ERR_OK);
    assert_int_equal(file_pwrite(file, "y", 1, 16000, NULL), ERR_OK);
    assert_int_equal(base[16000], 'y');
    file_unmap(file, base, 1 << 20);
    file_close(&file);
}

TEST(posix_disk, a_mapping_that_was_forgotten_reads_as_before)
{
    struct file *file = open_new(in_dir(test_dir(), "a"));
    const uint8_t *base;
    const uint64_t len = 4 << 20;
    assert_int_equal(file_truncate(file, len, NULL), ERR_OK);
    assert_int_equal(file_map(file, len, &base, NULL), ERR_OK);
    assert_int_equal(file_pwrite(file, "z", 1, 5000, NULL), ERR_OK);
    unsigned sum = 0;
    for (uint64_t at = 0; at < len; at += 1000) {
        sum += base[at];
    }
    assert_int_equal(sum, 'z');
    uint64_t before = resident_file_kb();
    file_map_forget(file, base, len);
    assert_in_range(before - resident_file_kb(), 3 << 10, 5 << 10);
    assert_int_equal(base[5000], 'z');
    file_unmap(file, base, len);
    file_close(&file);
}

TEST(posix_disk, a_full_device_and_a_size_limit_are_told_apart)
{
    struct file *file = NULL;
    struct errbuf why;
    assert_int_equal(disk_open(posix_disk(), "/dev/full", FILE_WRITE, &file, &why), ERR_OK);
    assert_int_equal(file_pwrite(file, "x", 1, 0, &why), ERR_NOSPACE);
    assert_non_null(strstr(why.text, "write /dev/full"));
    file_close(&file);

    /* RLIMIT_FSIZE cuts a write short, then fails the rest of it. */
    struct rlimit before;
    struct rlimit small;
    assert_int_equal(getrlimit(RLIMIT_FSIZE, &before), 0);
    small = before;
    small.rlim_cur = 1000;
    signal(SIGXFSZ, SIG_IGN);
    file = open_new(in_dir(test_dir(), "a"));
    char data[3000] = {0};
    uint64_t size;
    assert_int_equal(setrlimit(RLIMIT_FSIZE, &small), 0);
    enum err err = file_pwrite(file, data, sizeof(data), 0, &why);
    assert_int_equal(setrlimit(RLIMIT_FSIZE, &before), 0);
    assert_int_equal(err, ERR_IO);
    assert_int_equal(file_size(file, &size, NULL), ERR_OK);
    assert_int_equal(size, 1000);
    file_close(&file);
}

TEST(posix_disk, process_facts_are_plausible)
{
    struct process_info before;
    struct process_info after;
    posix_process_info(&before);
    struct file *file = open_new(in_dir(test_dir(), "a"));
    posix_process_info(&after);
    assert_int_equal(after.fd_open, before.fd_open + 1);
    file_close(&file);
    assert_true(before.fd_open >= 1 && before.fd_open < before.fd_max);
    assert_int_equal(before.threads, 1);
    assert_true(before.resident_bytes > 100000 && before.virtual_bytes > before.resident_bytes);
    double now = (double)time(NULL);
    assert_true(before.start_seconds > now - 3600 && before.start_seconds < now + 2);
    assert_true(before.cpu_seconds >= 0 && before.cpu_seconds < 600);
}

TEST(posix_disk, the_descriptor_limit_is_raised_to_the_hard_one)
{
    struct rlimit before;
    struct rlimit limit;
    struct process_info info;
    assert_int_equal(getrlimit(RLIMIT_NOFILE, &before), 0);
    limit = before;
    limit.rlim_cur = 200;
    assert_int_equal(setrlimit(RLIMIT_NOFILE, &limit), 0);
    posix_process_info(&info);
    assert_int_equal(info.fd_max, 200);
    posix_raise_fd_limit();
    posix_process_info(&info);
    assert_true(info.fd_max == before.rlim_max);
    assert_int_equal(setrlimit(RLIMIT_NOFILE, &before), 0);
}

/* A file system that does not know answers with where it was asked: no less right. */
TEST(posix_disk, data_are_found_behind_holes)
{
    struct file *file = open_new(in_dir(test_dir(), "sparse"));
    uint64_t at = 7;
    assert_int_equal(file_preallocate(file, 1 << 20, NULL), ERR_OK);
    assert_int_equal(file_pwrite(file, "x", 1, 600000, NULL), ERR_OK);
    assert_int_equal(file_sync(file, NULL), ERR_OK);
    assert_int_equal(file_next_data(file, 0, &at, NULL), ERR_OK);
    assert_true(at <= 600000);
    assert_int_equal(file_next_data(file, 600000, &at, NULL), ERR_OK);
    assert_int_equal(at, 600000);
    assert_int_equal(file_next_data(file, (uint64_t)1 << 20, &at, NULL), ERR_OK);
    assert_int_equal(at, 1 << 20);
    file_close(&file);
}
