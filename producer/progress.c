/*
 * progress.c - the progress line.
 *
 * Happy path: the line is written over itself with a carriage return. Where `out` is no terminal
 * nothing is ever written. It cannot fail: a terminal that goes away shows nothing.
 */
#include "producer/progress.h"

#include <string.h>
#include <unistd.h>

enum { EVERY_US = 200000, LINE_BYTES = 160 };

void progress_init(struct progress *p, FILE *out)
{
    *p = (struct progress){.out = out, .on = isatty(fileno(out)) == 1};
}

void progress_begin(struct progress *p, int64_t now_us)
{
    p->begin_us = p->shown_us = now_us;
}

const char *progress_number(int64_t n, char *out, size_t out_bytes)
{
    char digits[32];
    int count = snprintf(digits, sizeof digits, "%lld", (long long)n);
    size_t used = 0;
    for (int i = 0; i < count && used + 2 < out_bytes; i++) {
        if (i > 0 && (count - i) % 3 == 0 && digits[i - 1] != '-')
            out[used++] = ',';
        out[used++] = digits[i];
    }
    out[used] = '\0';
    return out;
}

void progress_text(char *out, size_t out_bytes, const char *verb, int64_t done, int64_t total,
                   int64_t left_out, int64_t elapsed_us)
{
    char number[32], more[96] = "", rest[48] = "";
    double rate = elapsed_us > 0 ? (double)done * 1e6 / (double)elapsed_us : 0;
    if (total > 0) {
        char all[32];
        snprintf(more, sizeof more, " of %s (%d%%)", progress_number(total, all, sizeof all),
                 (int)(100.0 * (double)done / (double)total));
        if (rate > 0 && done < total)
            snprintf(rest, sizeof rest, ", %.0f s left", (double)(total - done) / rate);
    }
    int n = snprintf(out, out_bytes, "%s %s%s", verb, progress_number(done, number, sizeof number),
                     more);
    if (n > 0 && (size_t)n < out_bytes)
        snprintf(out + n, out_bytes - (size_t)n, ", %s/s%s",
                 progress_number((int64_t)rate, number, sizeof number), rest);
    if (left_out > 0 && (n = (int)strlen(out)) > 0)
        snprintf(out + n, out_bytes - (size_t)n, ", %s left out",
                 progress_number(left_out, number, sizeof number));
}

void progress_show(struct progress *p, int64_t now_us, const char *verb, int64_t done,
                   int64_t total, int64_t left_out)
{
    char line[LINE_BYTES];
    if (!p->on || now_us - p->shown_us < EVERY_US)
        return;
    p->shown_us = now_us;
    progress_text(line, sizeof line, verb, done, total, left_out, now_us - p->begin_us);
    int columns = (int)strlen(line);
    fprintf(p->out, "\r%s%*s", line, p->columns > columns ? p->columns - columns : 0, "");
    fflush(p->out);
    p->columns = columns;
}

void progress_clear(struct progress *p)
{
    if (p->columns == 0)
        return;
    fprintf(p->out, "\r%*s\r", p->columns, "");
    fflush(p->out);
    p->columns = 0;
}
