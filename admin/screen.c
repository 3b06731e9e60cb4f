/*
 * screen.c - see screen.h. The wide ncurses, since names may be in any script.
 */
#include "admin/screen.h"

#include <ncurses.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <term.h>
#include <unistd.h>

#include "common/clock.h"

#undef lines /* of term.h: a capability of terminals */

static const int ending[] = {SIGINT, SIGTERM, SIGHUP, SIGQUIT};
enum { ENDING = sizeof ending / sizeof *ending, SLICE_MS = 200 };

struct screen {
    SCREEN *terminal;
    struct sigaction before[ENDING];
    bool plain; /* NO_COLOR */
};

static volatile sig_atomic_t ended; /* a handler can be told nothing else */

static void on_signal(int signum)
{
    (void)signum;
    ended = 1;
}

/* Asked first: newterm forgets what it allocated for a kind that it then does not know. */
static bool is_known_terminal(void)
{
    int status = 0;
    bool known = setupterm(NULL, STDOUT_FILENO, &status) == OK;
    if (known)
        (void)del_curterm(cur_term);
    return known;
}

enum rc screen_new(struct screen **ret_screen, struct err *err)
{
    const char *no_color = getenv("NO_COLOR");
    if (!isatty(STDIN_FILENO) || !isatty(STDOUT_FILENO))
        return err_set(err, RC_REJECT, "no terminal: --once prints one look as text");
    struct screen *s = calloc(1, sizeof *s);
    if (!s)
        return err_set(err, RC_NOMEM, "no memory for the screen");
    s->plain = no_color && *no_color;
    s->terminal = is_known_terminal() ? newterm(NULL, stdout, stdin) : NULL;
    if (!s->terminal) {
        const char *kind = getenv("TERM");
        free(s);
        return err_set(err, RC_REJECT,
                       "a terminal of kind '%s' is not known here: set TERM, or use --once",
                       kind ? kind : "");
    }
    ended = 0;
    struct sigaction action = {.sa_handler = on_signal};
    for (int i = 0; i < ENDING; i++)
        (void)sigaction(ending[i], &action, &s->before[i]);
    (void)cbreak();
    (void)noecho();
    (void)keypad(stdscr, TRUE);
    (void)curs_set(0);
    *ret_screen = s;
    return RC_OK;
}

void screen_free(struct screen *s)
{
    if (!s)
        return;
    (void)endwin();
    delscreen(s->terminal);
    for (int i = 0; i < ENDING; i++)
        (void)sigaction(ending[i], &s->before[i], NULL);
    free(s);
}

void screen_size(const struct screen *s, int *ret_width, int *ret_height)
{
    (void)s;
    *ret_width = getmaxx(stdscr);
    *ret_height = getmaxy(stdscr);
}

void screen_show(struct screen *s, struct span lines)
{
    int height = getmaxy(stdscr);
    (void)erase();
    for (int row = 0; row < height && lines.n > 0; row++) {
        const char *end = memchr(lines.p, '\n', lines.n);
        size_t n = end ? (size_t)(end - lines.p) : lines.n;
        if (row == 0 && !s->plain)
            (void)attron(A_BOLD);
        (void)mvaddnstr(row, 0, lines.p, (int)n);
        (void)attrset(A_NORMAL);
        n += end != NULL;
        lines.p += n;
        lines.n -= n;
    }
    (void)refresh();
}

/* In slices: a signal that comes right before the wait begins does not end it. */
int screen_key(struct screen *s, int64_t wait_ms)
{
    int64_t until_us = clock_mono_us() + wait_ms * 1000;
    (void)s;
    while (!ended) {
        int64_t left_ms = (until_us - clock_mono_us() + 999) / 1000;
        if (left_ms <= 0)
            return SCREEN_NOTHING;
        timeout(left_ms < SLICE_MS ? (int)left_ms : SLICE_MS);
        int key = getch();
        if (key == KEY_RESIZE)
            return SCREEN_RESIZED;
        if (key != ERR)
            return key;
        if (!isatty(STDIN_FILENO))
            break;
    }
    return SCREEN_ENDED;
}
