/* Runs a fuzz target over the files of its corpus and prints one TAP line. Twin of libFuzzer's
 * main for builds without it. A crash or a failed property aborts the program, naming the file. */
#include <dirent.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

static void replay(const char *path)
{
    FILE *in = fopen(path, "rb");
    if (in == NULL) {
        perror(path);
        exit(1);
    }
    uint8_t *data = NULL;
    size_t len = 0;
    for (;;) {
        data = realloc(data, len + 65536);
        size_t got = fread(data + len, 1, 65536, in);
        len += got;
        if (got == 0) {
            break;
        }
    }
    fclose(in);
    /* Exactly sized, so that a sanitizer sees a read past the end. */
    data = realloc(data, len == 0 ? 1 : len);
    fprintf(stderr, "# %s (%zu bytes)\n", path, len);
    LLVMFuzzerTestOneInput(data, len);
    free(data);
}

int main(int argc, char **argv)
{
    size_t count = 0;
    for (int i = 1; i < argc; i++) {
        DIR *dir = opendir(argv[i]);
        if (dir == NULL) {
            replay(argv[i]);
            count++;
            continue;
        }
        for (struct dirent *entry = readdir(dir); entry != NULL; entry = readdir(dir)) {
            char path[4096];
            if (entry->d_name[0] == '.') {
                continue;
            }
            snprintf(path, sizeof(path), "%s/%s", argv[i], entry->d_name);
            replay(path);
            count++;
        }
        closedir(dir);
    }
    /* An empty or missing corpus is a hole in the suite, not a pass. */
    printf("1..1\n%s 1 - %zu inputs replayed\n", count > 0 ? "ok" : "not ok", count);
    return count > 0 ? 0 : 1;
}
