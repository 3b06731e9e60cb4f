/*
 * submit_args.c - parsing of the command line.
 *
 * Happy path: each word is an option of the table, a configuration key written as an option
 * (--max-message-bytes 2MiB, --kafka.linger.ms 20), or an input. Failure: RC_REJECT naming the
 * word; nothing was read or connected yet.
 */
#include "producer/submit_args.h"

#include <stddef.h>
#include <stdlib.h>
#include <string.h>

struct option {
    const char *name;
    const char *value; /* how --help calls it; NULL: a switch */
    size_t offset;     /* in struct submit_args: of a const char *, or of a bool for a switch */
    const char *help;  /* lines of --help, separated by \n */
};

#define AT(member) offsetof(struct submit_args, member)

static const struct option options[] = {
    {"app", "NAME", AT(app), "who submits (required; or INFERQ_APP)"},
    {"task", "NAME", AT(task), "what the jobs are for"},
    {"team", "NAME", AT(team), "who pays (or INFERQ_TEAM)"},
    {"batch", "NAME", AT(batch),
     "the batch's name, unique per app. Submitting a name again finishes what was left\n"
     "unfinished and does nothing twice. Default: made from the paths of the inputs, the\n"
     "task, the model, the prompt and the output (not from what the files hold), so the\n"
     "same command has the same name. Needed for standard input"},
    {"priority", "high|normal|low", AT(priority),
     "which lane the jobs go to, where nothing else says so (default: normal)"},
    {"lane", "NAME", AT(lane),
     "the lane, and so the topic, that the jobs go to (default: that of the app and task, as\n"
     "`inferq lane list` shows them, else the priority's)"},
    {"deadline", "TIME", AT(deadline),
     "jobs not ended by then expire: 2026-12-31T08:00:00Z, or +30m, +24h, +7d"},
    {"prompt", "TEXT", AT(prompt),
     "inputs are documents; TEXT holds {document} where each one goes. What is sent is\n"
     "TEXT with the document in its place, and nothing else"},
    {"prompt-file", "FILE", AT(prompt_file), "the same, from a file, taken byte for byte"},
    {"model", "NAME", AT(model), "a model of the catalogue, for bodies that name none"},
    {"max-output-tokens", "N", AT(max_output_tokens), "for bodies that set no limit themselves"},
    {"output", "KIND", AT(output),
     "what an answer must be: text (default), json:SCHEMA (a file, or the schema itself if\n"
     "it starts with '{'), or label:A,B,C. The worker checks each answer and asks once\n"
     "more; the prompt is not changed, so say in it what is wanted"},
    {"url", "PATH", AT(url),
     "what is called, for inputs that do not say (default: /v1/chat/completions)"},
    {"max-attempts", "N", AT(max_attempts), "calls at most for one job, 1 to 100"},
    {"max-cost", "USD", AT(max_cost), "a job that may cost more is not called: 0.05"},
    {"context-version", "TEXT", AT(context_version),
     "version of what the documents were made from; kept with each result"},
    {"format", "KIND", AT(format),
     "documents: each file is one (the default with a prompt); lines: each line is one;\n"
     "jsonl: each line is a request body; openai: each line is an OpenAI batch request;\n"
     "auto: documents with a prompt, else jsonl or openai, as each file's first line shows"},
    {"include", "GLOB", AT(include), "take only the files of a directory whose name fits"},
    {"on-error", "stop|skip", AT(on_error),
     "a bad record ends it all (default), or is named and left out (exit status 1)"},
    {"wait", NULL, AT(wait), "follow the batch to its end; the exit status is its outcome"},
    {"dry-run", NULL, AT(dry_run), "show what would be sent and what it may cost; send nothing"},
    {"catalogue", "FILE", AT(catalogue),
     "prices for --dry-run (default: the catalogue in Postgres)"},
    {"config", "FILE", AT(config), "settings, as `key = value` lines"},
    {"print-config", NULL, AT(print_config), "show the settings and where they come from"},
    {"help", NULL, AT(help), "this text"},
    {"version", NULL, AT(version), "the program's version"},
};
enum { OPTIONS = sizeof options / sizeof options[0] };

const struct config_key submit_config_keys[] = {
    {.name = "app",
     .type = CONFIG_TEXT,
     .deflt = "",
     .max = 128,
     .unit = "",
     .help = "who submits, where --app does not say"},
    {.name = "team",
     .type = CONFIG_TEXT,
     .deflt = "",
     .max = 128,
     .unit = "",
     .help = "who pays, where --team does not say"},
    {.name = "lane",
     .type = CONFIG_TEXT,
     .deflt = "",
     .max = 32,
     .unit = "",
     .help = "the lane that the jobs go to, where --lane does not say"},
    {.name = "prefix",
     .type = CONFIG_TEXT,
     .deflt = "inferq",
     .min = 1,
     .max = 100,
     .unit = "",
     .help = "first part of the topics' names: PREFIX.jobs.LANE"},
    {.name = "postgres",
     .type = CONFIG_TEXT,
     .deflt = "",
     .max = 4096,
     .unit = "",
     .help = "libpq connection string without a password; empty: the PG* environment"},
    {.name = "signing.key",
     .type = CONFIG_TEXT,
     .deflt = "",
     .max = 4096,
     .secret = true,
     .unit = "",
     .help = "key that signs the jobs: env:NAME or file:PATH of `KEYID:HEX`"},
    {.name = "max_message_bytes",
     .type = CONFIG_BYTES,
     .deflt = "1MiB",
     .min = 4096,
     .max = 8 << 20,
     .unit = "bytes",
     .help = "largest Kafka message, headers included; the topics must allow as much"},
    {.name = "custom_ids_bytes",
     .type = CONFIG_BYTES,
     .deflt = "512MiB",
     .min = 1 << 20,
     .max = (int64_t)64 << 30,
     .unit = "bytes",
     .help = "memory at most for telling repeated custom_ids, about 12 bytes each"},
    {.name = NULL},
};

static const struct option *find_option(const char *name, size_t n)
{
    for (size_t i = 0; i < OPTIONS; i++)
        if (strlen(options[i].name) == n && memcmp(options[i].name, name, n) == 0)
            return &options[i];
    return NULL;
}

/* Options write '-' where keys have '_' or '.'. */
static bool names_key(const char *key, const char *name, size_t n)
{
    if (strlen(key) != n)
        return false;
    for (size_t i = 0; i < n; i++)
        if (key[i] != name[i] && !(name[i] == '-' && strchr("_.", key[i])))
            return false;
    return true;
}

static enum rc add_setting(struct submit_args *args, const char *key, size_t n, const char *value,
                           struct err *err)
{
    if (args->setting_count == SUBMIT_SETTINGS_MAX)
        return err_set(err, RC_REJECT, "more than %d settings: use --config FILE",
                       SUBMIT_SETTINGS_MAX);
    if (n >= sizeof args->settings[0].key)
        return err_set(err, RC_REJECT, "--%.64s...: no setting has so long a name", key);
    memcpy(args->settings[args->setting_count].key, key, n);
    args->settings[args->setting_count].key[n] = '\0';
    args->settings[args->setting_count++].value = value;
    return RC_OK;
}

/* The configuration key that an option names; NULL: none. */
static const char *key_named(const char *name, size_t n)
{
    static const char kafka[] = "kafka.";
    for (const struct config_key *k = submit_config_keys; k->name; k++)
        if (names_key(k->name, name, n))
            return k->name;
    return n >= sizeof kafka && memcmp(name, kafka, sizeof kafka - 1) == 0 ? name : NULL;
}

static enum rc unknown_option(const char *name, size_t n, struct err *err)
{
    for (size_t i = 0; i < OPTIONS; i++)
        if (n >= 2 && strncmp(options[i].name, name, n) == 0)
            return err_set(err, RC_REJECT, "unknown option --%.*s: did you mean --%s?", (int)n,
                           name, options[i].name);
    return err_set(err, RC_REJECT, "unknown option --%.*s: see --help", (int)n, name);
}

/* One "--name", "--name=value" or "--name value"; *i is moved past its value. */
static enum rc parse_option(struct submit_args *args, int argc, char **argv, int *i,
                            struct err *err)
{
    const char *name = argv[*i] + 2, *equals = strchr(name, '=');
    size_t n = equals ? (size_t)(equals - name) : strlen(name);
    const struct option *option = find_option(name, n);
    const char *key = option ? NULL : key_named(name, n);
    if (!option && !key)
        return unknown_option(name, n, err);
    if (option && !option->value) {
        if (equals)
            return err_set(err, RC_REJECT, "--%s takes no value", option->name);
        *(bool *)((char *)args + option->offset) = true;
        return RC_OK;
    }
    const char *value = equals ? equals + 1 : *i + 1 < argc ? argv[++*i] : NULL;
    if (!value)
        return err_set(err, RC_REJECT, "--%.*s needs a value", (int)n, name);
    if (key)
        return add_setting(args, key, key == name ? n : strlen(key), value, err);
    const char **member = (const char **)((char *)args + option->offset);
    if (*member)
        return err_set(err, RC_REJECT, "--%s is given twice", option->name);
    *member = value;
    return RC_OK;
}

enum rc submit_args_parse(int argc, char **argv, struct submit_args *ret_args, struct err *err)
{
    struct submit_args args = {0};
    enum rc rc = RC_OK;
    bool only_inputs = false;
    args.inputs = calloc((size_t)argc + 1, sizeof *args.inputs);
    if (!args.inputs)
        return err_set(err, RC_NOMEM, "no memory");
    for (int i = 1; rc == RC_OK && i < argc; i++) {
        const char *word = argv[i];
        if (only_inputs || word[0] != '-' || word[1] == '\0')
            args.inputs[args.input_count++] = word;
        else if (strcmp(word, "--") == 0)
            only_inputs = true;
        else if (strcmp(word, "-h") == 0)
            args.help = true;
        else if (word[1] == '-')
            rc = parse_option(&args, argc, argv, &i, err);
        else
            rc = err_set(err, RC_REJECT, "unknown option %.16s: see --help", word);
    }
    if (rc != RC_OK) {
        submit_args_done(&args);
        return rc;
    }
    *ret_args = args;
    return RC_OK;
}

void submit_args_done(struct submit_args *args)
{
    free(args->inputs);
    args->inputs = NULL;
}

static void help_option(const struct option *option, FILE *out)
{
    const char *text = option->help;
    fprintf(out, "  --%s%s%s\n", option->name, option->value ? " " : "",
            option->value ? option->value : "");
    for (;;) {
        size_t n = strcspn(text, "\n");
        fprintf(out, "      %.*s\n", (int)n, text);
        if (text[n] == '\0')
            return;
        text += n + 1;
    }
}

void submit_args_help(FILE *out)
{
    fputs("Usage: inferq-submit --app NAME [OPTION...] INPUT...\n\n"
          "Turns input into jobs, sends them, and prints the batch's id. An INPUT is a file, a\n"
          "directory (names beginning with a dot are left out), or - for standard input.\n\n"
          "Examples:\n"
          "  inferq-submit --app demo --prompt 'Summarise: {document}' --model small docs/\n"
          "  inferq-submit --app demo --wait requests.jsonl\n\n"
          "Options:\n",
          out);
    for (size_t i = 0; i < OPTIONS; i++)
        help_option(&options[i], out);
    fputs("\nNames: a document's custom_id is its path below the deepest directory that holds all\n"
          "inputs; a line's is \"line-<n>\" (\"<path>:<n>\" with several inputs), or its own\n"
          "\"custom_id\", which is taken out of a JSONL body before it is sent.\n\n"
          "Files and directories are read twice: nothing is sent before every record was checked.\n"
          "Pipes are read once, so what stands before a bad record was sent by then.\n\n"
          "Run again after an interruption, with the same input and batch name, it sends what may\n"
          "be missing; workers run no job twice.\n\n"
          "Exit status: 0 done; 1 some jobs failed or records were left out; 2 usage, or bad\n"
          "input; 3 a server cannot be reached; 128 + signal when interrupted.\n\n"
          "Settings (flag > INFERQ_NAME > --config FILE > default):\n",
          out);
    config_help(submit_config_keys, out);
}
