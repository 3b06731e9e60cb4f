/*
 * process.c - see process.h.
 */
#include "worker/process.h"

#include <dirent.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/resource.h>
#include <sys/stat.h>
#include <unistd.h>

#include "common/clock.h"

enum { SPARE_DESCRIPTORS = 256 }; /* besides one per call in flight */

/* Refused early rather than found out under load. */
enum rc process_descriptors(int64_t calls, struct err *err)
{
    struct rlimit limit;
    rlim_t wanted = (rlim_t)calls + SPARE_DESCRIPTORS;
    if (getrlimit(RLIMIT_NOFILE, &limit) != 0 || limit.rlim_cur >= wanted)
        return RC_OK;
    limit.rlim_cur = limit.rlim_max < wanted ? limit.rlim_max : wanted;
    if (setrlimit(RLIMIT_NOFILE, &limit) != 0 || limit.rlim_cur < wanted)
        return err_set(err, RC_REJECT,
                       "max_in_flight needs %llu file descriptors and the limit is %llu: raise it "
                       "(ulimit -n) or lower max_in_flight",
                       (unsigned long long)wanted, (unsigned long long)limit.rlim_cur);
    return RC_OK;
}

/* xoroshiro128+ (Blackman and Vigna, 2018). */
uint64_t process_random(uint64_t state[2])
{
    uint64_t a = state[0], b = state[1], result = a + b;
    b ^= a;
    state[0] = ((a << 24) | (a >> 40)) ^ b ^ (b << 16);
    state[1] = (b << 37) | (b >> 27);
    return result;
}

void process_host(char *out, size_t out_bytes)
{
    if (gethostname(out, out_bytes) != 0)
        (void)snprintf(out, out_bytes, "unknown");
    out[out_bytes - 1] = '\0';
}

/* ---- what it takes of its machine ------------------------------------------------------------ */

/* The first bytes of a file of /proc, as text. */
static bool read_text(const char *path, char *out, size_t out_bytes)
{
    FILE *file = fopen(path, "re");
    size_t n = file ? fread(out, 1, out_bytes - 1, file) : 0;
    out[n] = '\0';
    if (file)
        (void)fclose(file);
    return n > 0;
}

/* The field of proc(5)'s number; the command's name, the second, may hold blanks itself. */
static int64_t stat_field(const char *text, int number)
{
    const char *at = strrchr(text, ')');
    for (int i = 2; at && i < number; i++)
        at = strchr(at + 1, ' ');
    return at ? strtoll(at + 1, NULL, 10) : 0;
}

/* Since boot, in ticks, by the same clock as clock_boot_us. */
static double started_s(void)
{
    enum { STARTTIME = 22 };
    char text[1024];
    double ticks = (double)sysconf(_SC_CLK_TCK);
    if (!read_text("/proc/self/stat", text, sizeof text) || ticks <= 0)
        return 0;
    double age_s = (double)clock_boot_us() / 1e6 - (double)stat_field(text, STARTTIME) / ticks;
    return (double)clock_wall_ms() / 1e3 - age_s;
}

static int64_t resident_bytes(void)
{
    char text[256];
    const char *second =
        read_text("/proc/self/statm", text, sizeof text) ? strchr(text, ' ') : NULL;
    return second ? strtoll(second, NULL, 10) * sysconf(_SC_PAGESIZE) : 0;
}

/* Kernels since 6.2 know the number; before, each is an entry of the directory. */
static int64_t open_descriptors(void)
{
    struct stat st;
    int64_t open = 0;
    if (stat("/proc/self/fd", &st) == 0 && st.st_size > 0)
        return st.st_size;
    DIR *dir = opendir("/proc/self/fd");
    while (dir && readdir(dir))
        open++;
    if (dir)
        (void)closedir(dir);
    return open > 3 ? open - 3 : 0; /* `.`, `..`, and the directory's own */
}

void process_facts(struct process_facts *ret)
{
    struct rlimit limit = {0};
    struct rusage used = {0};
    (void)getrlimit(RLIMIT_NOFILE, &limit);
    (void)getrusage(RUSAGE_SELF, &used);
    *ret = (struct process_facts){
        .started_s = started_s(),
        .cpu_s = (double)(used.ru_utime.tv_sec + used.ru_stime.tv_sec) +
                 (double)(used.ru_utime.tv_usec + used.ru_stime.tv_usec) / 1e6,
        .resident_bytes = resident_bytes(),
        .open_descriptors = open_descriptors(),
        .descriptors_max = (int64_t)limit.rlim_cur,
    };
}
