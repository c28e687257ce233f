/* Facts about this process from /proc (proc(5)). */
#include "env/posix.h"

#include <dirent.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/resource.h>
#include <unistd.h>

static bool read_small(const char *path, char *out, size_t cap)
{
    FILE *in = fopen(path, "re");
    if (in == NULL) {
        return false;
    }
    size_t len = fread(out, 1, cap - 1, in);
    fclose(in);
    out[len] = '\0';
    return len > 0;
}

/* Seconds since 1970 when the machine started: the "btime" line of /proc/stat. */
static double boot_seconds(void)
{
    FILE *in = fopen("/proc/stat", "re");
    double seconds = 0;
    if (in == NULL) {
        return seconds;
    }
    char line[256];
    while (fgets(line, sizeof(line), in) != NULL) {
        if (strncmp(line, "btime ", 6) == 0) {
            seconds = strtod(line + 6, NULL);
            break;
        }
    }
    fclose(in);
    return seconds;
}

/* Fields of /proc/self/stat, counted as proc(5) does, from 1. */
enum {
    STAT_STATE = 3, /* the first one behind the name in brackets, which may hold blanks */
    STAT_UTIME = 14,
    STAT_STIME = 15,
    STAT_THREADS = 20,
    STAT_START = 22,
    STAT_VSIZE = 23,
    STAT_RSS = 24,
};

static void read_stat(struct process_info *out)
{
    char text[1024];
    if (!read_small("/proc/self/stat", text, sizeof(text))) {
        return;
    }
    char *next = strrchr(text, ')');
    if (next == NULL) {
        return;
    }
    uint64_t fields[STAT_RSS + 1] = {0};
    char *save = NULL;
    char *word = strtok_r(next + 1, " ", &save);
    for (size_t i = STAT_STATE; i <= STAT_RSS && word != NULL; i++) {
        fields[i] = strtoull(word, NULL, 10);
        word = strtok_r(NULL, " ", &save);
    }
    double ticks = (double)sysconf(_SC_CLK_TCK);
    out->cpu_seconds = (double)(fields[STAT_UTIME] + fields[STAT_STIME]) / ticks;
    out->threads = fields[STAT_THREADS];
    out->start_seconds = boot_seconds() + (double)fields[STAT_START] / ticks;
    out->virtual_bytes = fields[STAT_VSIZE];
    out->resident_bytes = fields[STAT_RSS] * (uint64_t)sysconf(_SC_PAGESIZE);
}

static uint64_t count_descriptors(void)
{
    DIR *dir = opendir("/proc/self/fd");
    if (dir == NULL) {
        return 0;
    }
    uint64_t count = 0;
    for (struct dirent *entry = readdir(dir); entry != NULL; entry = readdir(dir)) {
        count += entry->d_name[0] != '.';
    }
    closedir(dir);
    return count > 0 ? count - 1 : 0; /* the one of the listing itself */
}

void posix_process_info(struct process_info *out)
{
    *out = (struct process_info){0};
    read_stat(out);
    out->fd_open = count_descriptors();
    struct rlimit limit;
    if (getrlimit(RLIMIT_NOFILE, &limit) == 0) {
        out->fd_max = limit.rlim_cur;
    }
}

void posix_raise_fd_limit(void)
{
    struct rlimit limit;
    if (getrlimit(RLIMIT_NOFILE, &limit) == 0 && limit.rlim_cur < limit.rlim_max) {
        limit.rlim_cur = limit.rlim_max;
        setrlimit(RLIMIT_NOFILE, &limit); /* refused: the old limit holds */
    }
}
