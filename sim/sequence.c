#include "sequence.h"

#include "base/assert.h"

#include <stdio.h>
#include <stdlib.h>

enum {
    COLUMNS = 8,
    TEXT_BYTES = 96,
    COLUMN_WIDTH = 178,
    LEFT = 150,  /* of the first line */
    RIGHT = 110, /* of the last */
    TOP = 122,   /* where time begins */
    BOTTOM = 70, /* for the legend */
    WORDS_ROOM = 21,
    THIN_ROOM = 5,
    SYNC_ROOM = 7,
    CHARACTER = 7, /* mean width of one */
};

enum kind { ARROW, NOTE, LIFE };

struct happening {
    enum kind kind;
    int64_t at_ns, arrived_ns; /* arrived: −1 never */
    int from, to;              /* a note's and a life's column is from */
    int how;                   /* arrow, note, or alive */
    double y;                  /* of a note */
    char text[TEXT_BYTES];
};

/* A time on the page. */
struct moment {
    int64_t at_ns;
    int room;
    struct happening *note; /* or NULL */
    double y;
};

struct sequence {
    char title[TEXT_BYTES];
    char names[COLUMNS][2][TEXT_BYTES];
    int columns;
    struct buffer happenings; /* of struct happening */
    struct moment *moments;
    size_t moment_count;
};

struct sequence *sequence_create(void)
{
    struct sequence *sequence = calloc(1, sizeof(*sequence));
    ASSERT(sequence != NULL);
    return sequence;
}

void sequence_destroy(struct sequence *sequence)
{
    if (sequence != NULL) {
        buffer_deinit(&sequence->happenings);
        free(sequence->moments);
        free(sequence);
    }
}

static struct happening *happening_at(const struct sequence *sequence, size_t i)
{
    return (struct happening *)(void *)sequence->happenings.data + i;
}

static size_t happening_count(const struct sequence *sequence)
{
    return sequence->happenings.size / sizeof(struct happening);
}

static size_t add(struct sequence *sequence, const struct happening *happening, const char *text)
{
    if (sequence == NULL) {
        return SIZE_MAX;
    }
    struct happening one = *happening;
    (void)snprintf(one.text, sizeof(one.text), "%s", text);
    buffer_append(&sequence->happenings, &one, sizeof(one));
    return happening_count(sequence) - 1;
}

void sequence_column(struct sequence *sequence, const char *name, const char *below)
{
    if (sequence != NULL && sequence->columns < COLUMNS) {
        (void)snprintf(sequence->names[sequence->columns][0], TEXT_BYTES, "%s", name);
        (void)snprintf(sequence->names[sequence->columns++][1], TEXT_BYTES, "%s", below);
    }
}

void sequence_entitle(struct sequence *sequence, const char *title)
{
    if (sequence != NULL) {
        (void)snprintf(sequence->title, sizeof(sequence->title), "%s", title);
    }
}

size_t sequence_sent(struct sequence *sequence, int64_t at_ns, int from, int to, enum sequence_arrow arrow,
                     const char *text)
{
    return add(sequence, &(struct happening){ARROW, at_ns, -1, from, to, (int)arrow, 0, ""}, text);
}

void sequence_arrived(struct sequence *sequence, size_t sent, int64_t at_ns)
{
    if (sequence != NULL && sent != SIZE_MAX) {
        happening_at(sequence, sent)->arrived_ns = at_ns;
    }
}

void sequence_note(struct sequence *sequence, int64_t at_ns, int column, enum sequence_note note, const char *text)
{
    (void)add(sequence, &(struct happening){NOTE, at_ns, -1, column, 0, (int)note, 0, ""}, text);
}

void sequence_life(struct sequence *sequence, int64_t at_ns, int column, bool alive)
{
    (void)add(sequence, &(struct happening){LIFE, at_ns, -1, column, 0, alive, 0, ""}, "");
}

/* ---- where things stand ---- */

static int by_time(const void *one, const void *other)
{
    const struct moment *a = one;
    const struct moment *b = other;
    int order = (a->at_ns > b->at_ns) - (a->at_ns < b->at_ns);
    return order != 0 ? order : (a->note > b->note) - (a->note < b->note); /* arrows, then notes as they came */
}

static void put_moment(struct sequence *sequence, int64_t at_ns, int room, struct happening *note)
{
    sequence->moments[sequence->moment_count++] = (struct moment){at_ns, room, note, 0};
}

/* Of notes of one time those of one column stand one below the other. */
static bool meets_none(const struct moment *moment)
{
    return moment[-1].note == NULL || (moment[-1].note->from != moment->note->from && moment->note->from >= 0);
}

static void lay_out(struct sequence *sequence)
{
    size_t count = happening_count(sequence);
    free(sequence->moments);
    sequence->moments = calloc(2 * count + 1, sizeof(*sequence->moments));
    ASSERT(sequence->moments != NULL);
    sequence->moment_count = 0;
    for (size_t i = 0; i < count; i++) {
        struct happening *at = happening_at(sequence, i);
        bool words = at->text[0] != '\0' && at->kind != LIFE && !(at->kind == ARROW && at->how != SEQUENCE_MESSAGE);
        int room = words ? WORDS_ROOM : at->kind == NOTE ? SYNC_ROOM : THIN_ROOM;
        put_moment(sequence, at->at_ns, room, at->kind == NOTE ? at : NULL);
        if (at->arrived_ns >= 0) {
            put_moment(sequence, at->arrived_ns, words ? WORDS_ROOM / 2 : THIN_ROOM, NULL);
        }
    }
    qsort(sequence->moments, sequence->moment_count, sizeof(*sequence->moments), by_time);
    double y = TOP;
    for (size_t i = 0; i < sequence->moment_count; i++) {
        struct moment *moment = &sequence->moments[i];
        bool same = i > 0 && moment->at_ns == moment[-1].at_ns;
        bool beside = same && (moment->note == NULL || moment->note->text[0] == '\0' || meets_none(moment));
        y += beside ? 0 : moment->room;
        moment->y = y;
        if (moment->note != NULL) {
            moment->note->y = y;
        }
    }
}

static double y_of(const struct sequence *sequence, int64_t at_ns)
{
    for (size_t i = 0; i < sequence->moment_count; i++) {
        if (sequence->moments[i].at_ns >= at_ns) {
            return sequence->moments[i].y;
        }
    }
    return sequence->moment_count == 0 ? TOP : sequence->moments[sequence->moment_count - 1].y;
}

static double x_of(int column) { return LEFT + (double)column * COLUMN_WIDTH; }

static int width_of(const struct sequence *sequence) { return LEFT + (sequence->columns - 1) * COLUMN_WIDTH + RIGHT; }

static double end_of(const struct sequence *sequence) { return y_of(sequence, INT64_MAX) + 24; }

/* ---- drawing ---- */

static void escape(const char *text, char escaped[static TEXT_BYTES * 5])
{
    size_t at = 0;
    for (; *text != '\0' && at + 6 < (size_t)TEXT_BYTES * 5; text++) {
        const char *as = *text == '<' ? "&lt;" : *text == '>' ? "&gt;" : *text == '&' ? "&amp;" : NULL;
        at += (size_t)snprintf(escaped + at, 6, as != NULL ? "%s" : "%.1s", as != NULL ? as : text);
    }
    escaped[at] = '\0';
}

static void draw_text(struct buffer *svg, double x, double y, const char *class, const char *text)
{
    char escaped[TEXT_BYTES * 5];
    escape(text, escaped);
    buffer_append_format(svg, "<text x='%.1f' y='%.1f' class='%s'>%s</text>\n", x, y, class, escaped);
}

static void draw_head(const struct sequence *sequence, const char *origin, struct buffer *svg, double height)
{
    int width = width_of(sequence);
    buffer_append_format(svg,
                         "<svg xmlns='http://www.w3.org/2000/svg' width='%d' height='%.0f' viewBox='0 0 %d %.0f'>\n",
                         width, height, width, height);
    buffer_append_string(
        svg, "<style>text{font:13px system-ui,'DejaVu Sans',Helvetica,Arial,sans-serif;fill:#222}"
             ".title{font-weight:600;font-size:15px}.name{font-weight:600;text-anchor:middle}"
             ".below{font-size:12px;fill:#667;text-anchor:middle}.time{font-size:11px;fill:#8a8f98}"
             ".word{text-anchor:middle;paint-order:stroke;stroke:#fff;stroke-width:4px}"
             ".answer{text-anchor:middle;fill:#555;paint-order:stroke;stroke:#fff;stroke-width:4px}"
             ".state{text-anchor:middle;font-size:12px;font-weight:600}"
             ".fault{fill:#b3261e;font-weight:600;text-anchor:middle;paint-order:stroke;stroke:#fff;stroke-width:4px}"
             ".remark{fill:#5b4a00;text-anchor:middle;paint-order:stroke;stroke:#fff;stroke-width:4px}</style>\n"
             "<defs><marker id='head' viewBox='0 0 8 8' refX='8' refY='4' markerWidth='8' markerHeight='8' "
             "markerUnits='userSpaceOnUse' orient='auto'><path d='M0 0L8 4L0 8z' fill='#1f5fa8'/></marker>"
             "<marker id='thin' viewBox='0 0 8 8' refX='8' refY='4' markerWidth='5' markerHeight='5' "
             "markerUnits='userSpaceOnUse' orient='auto'><path d='M0 0L8 4L0 8z' fill='#b4bac4'/></marker></defs>\n"
             "<rect width='100%' height='100%' fill='#fff'/>\n");
    draw_text(svg, 16, 26, "title", sequence->title);
    draw_text(svg, 16, 44, "time", origin);
}

static void draw_line(struct buffer *svg, double x, double from_y, double to_y, bool alive)
{
    buffer_append_format(svg, "<line x1='%.1f' x2='%.1f' y1='%.1f' y2='%.1f' stroke='%s' stroke-width='1.4'%s/>\n", x,
                         x, from_y, to_y, alive ? "#8d97a5" : "#e0a9a5", alive ? "" : " stroke-dasharray='2 5'");
}

/* Whole while somebody is there, dashed while nobody is. */
static void draw_column(const struct sequence *sequence, struct buffer *svg, int column)
{
    double x = x_of(column);
    double from_y = TOP - 20;
    bool alive = true;
    for (size_t i = 0; i < happening_count(sequence); i++) {
        const struct happening *at = happening_at(sequence, i);
        if (at->kind == LIFE && at->from == column && (at->how != 0) != alive) {
            double y = y_of(sequence, at->at_ns);
            draw_line(svg, x, from_y, y, alive);
            from_y = y;
            alive = !alive;
        }
    }
    draw_line(svg, x, from_y, end_of(sequence), alive);
    buffer_append_format(svg, "<rect x='%.1f' y='60' width='%d' height='42' rx='6' fill='#eef3fa' stroke='#b9c8dc'/>\n",
                         x - COLUMN_WIDTH / 2.0 + 8, COLUMN_WIDTH - 16);
    draw_text(svg, x, 78, "name", sequence->names[column][0]);
    draw_text(svg, x, 95, "below", sequence->names[column][1]);
}

/* Several leave at once from one place. */
static bool is_fan(const struct sequence *sequence, const struct happening *at)
{
    for (size_t i = 0; i < happening_count(sequence); i++) {
        const struct happening *other = happening_at(sequence, i);
        if (other != at && other->kind == ARROW && other->how == SEQUENCE_MESSAGE && other->from == at->from &&
            other->at_ns == at->at_ns) {
            return true;
        }
    }
    return false;
}

/* Words stand beside the end where no other arrow is: of a fan that is where it arrives, else where it begins. */
static void draw_arrow(const struct sequence *sequence, struct buffer *svg, const struct happening *at)
{
    bool lost = at->arrived_ns < 0;
    bool thin = at->how != SEQUENCE_MESSAGE;
    double x1 = x_of(at->from);
    double x2 = x_of(at->to);
    double y1 = y_of(sequence, at->at_ns);
    double y2 = lost ? y1 + 8 : y_of(sequence, at->arrived_ns);
    x2 = lost ? x1 + (x2 - x1) * .45 : x2;
    buffer_append_format(svg,
                         "<line x1='%.1f' y1='%.1f' x2='%.1f' y2='%.1f' stroke='%s' stroke-width='%s'%s "
                         "marker-end='url(#%s)'/>\n",
                         x1, y1, x2, y2, thin ? "#cfd4dc" : "#1f5fa8", thin ? "1" : "1.6",
                         lost                         ? " stroke-dasharray='5 4'"
                         : at->how == SEQUENCE_STORED ? " stroke-dasharray='2 3'"
                                                      : "",
                         thin ? "thin" : "head");
    if (lost) {
        buffer_append_format(svg, "<path d='M%.1f %.1fl10 10m0 -10l-10 10' stroke='#b3261e' stroke-width='2'/>\n",
                             x2 - 5, y2 - 5);
    }
    if (thin) {
        return;
    }
    bool fan = is_fan(sequence, at);
    double side = (at->from > at->to) == fan ? .5 : -.5; /* of that end */
    double x = x_of(fan ? at->to : at->from) + side * COLUMN_WIDTH;
    double whole = x_of(at->to) - x1;
    double y = y1 + (y2 - y1) * (x - x1) / whole;
    draw_text(svg, lost ? x2 : x, (lost ? y1 - 3 : y) - 4, "word", at->text);
}

static void draw_note(const struct sequence *sequence, struct buffer *svg, const struct happening *at)
{
    static const struct {
        const char *fill, *stroke;
    } looks[] = {[SEQUENCE_STATE] = {"#fff6d6", "#c9a227"},
                 [SEQUENCE_COMMITTED] = {"#dcf3df", "#3c8d4a"},
                 [SEQUENCE_ABORTED] = {"#fbe0de", "#b3261e"},
                 [SEQUENCE_FAULT] = {"", ""},
                 [SEQUENCE_REMARK] = {"", ""}};
    double y = at->y;
    if (at->from < 0) {
        bool fault = at->how == SEQUENCE_FAULT;
        buffer_append_format(svg, "<line x1='%d' x2='%d' y1='%.1f' y2='%.1f' stroke='%s' stroke-dasharray='7 5'/>\n",
                             LEFT - 60, width_of(sequence) - 20, y, y, fault ? "#b3261e" : "#c9a227");
        draw_text(svg, (LEFT + (double)x_of(sequence->columns - 1)) / 2, y - 5, fault ? "fault" : "remark", at->text);
        return;
    }
    double x = x_of(at->from);
    switch ((enum sequence_note)at->how) {
    case SEQUENCE_SYNC:
        buffer_append_format(svg, "<rect x='%.1f' y='%.1f' width='7' height='7' fill='#333'/>\n", x - 3.5, y - 3.5);
        break;
    case SEQUENCE_FAULT:
        buffer_append_format(svg, "<path d='M%.1f %.1fl12 12m0 -12l-12 12' stroke='#b3261e' stroke-width='2.5'/>\n",
                             x - 6, y - 6);
        draw_text(svg, x + 14 + (double)strlen(at->text) * CHARACTER / 2, y + 5, "fault", at->text);
        break;
    case SEQUENCE_REMARK: draw_text(svg, x, y, "remark", at->text); break;
    default: {
        double width = (double)strlen(at->text) * (CHARACTER + 1) + 14;
        buffer_append_format(svg, "<rect x='%.1f' y='%.1f' width='%.1f' height='18' rx='9' fill='%s' stroke='%s'/>\n",
                             x - width / 2, y - 9, width, looks[at->how].fill, looks[at->how].stroke);
        draw_text(svg, x, y + 4.5, "state", at->text);
    }
    }
}

/* When it was, where there is room for it. */
static void draw_times(const struct sequence *sequence, struct buffer *svg)
{
    double free_y = 0;
    for (size_t i = 0; i < sequence->moment_count; i++) {
        const struct moment *moment = &sequence->moments[i];
        if (moment->room >= WORDS_ROOM && moment->y >= free_y) {
            char text[32];
            (void)snprintf(text, sizeof(text), "%.2f ms", (double)moment->at_ns / 1e6);
            draw_text(svg, 12, moment->y + 4, "time", text);
            free_y = moment->y + 14;
        }
    }
}

static bool has(const struct sequence *sequence, enum kind kind, int how)
{
    for (size_t i = 0; i < happening_count(sequence); i++) {
        if (happening_at(sequence, i)->kind == kind && happening_at(sequence, i)->how == how) {
            return true;
        }
    }
    return false;
}

static void draw_legend(const struct sequence *sequence, struct buffer *svg, double y)
{
    buffer_append_format(svg,
                         "<g transform='translate(16 %.0f)'><line x1='0' x2='30' y1='0' y2='0' stroke='#1f5fa8' "
                         "stroke-width='1.6' marker-end='url(#head)'/><text x='38' y='4'>message</text>"
                         "<rect x='116' y='-9' width='58' height='18' rx='9' fill='#fff6d6' stroke='#c9a227'/>"
                         "<text x='145' y='4.5' class='state'>STATE</text><text x='182' y='4'>durable</text>",
                         y);
    if (has(sequence, NOTE, SEQUENCE_SYNC)) {
        buffer_append_string(
            svg, "<text x='228' y='4'>: on a majority of the shard's disks</text>"
                 "<rect x='474' y='-4' width='8' height='8' fill='#333'/><text x='490' y='4'>forced write (sync)</text>"
                 "<line x1='626' x2='656' y1='0' y2='0' stroke='#cfd4dc' marker-end='url(#thin)'/>"
                 "<text x='664' y='4'>entry to a follower; dotted: it has stored it</text>");
    }
    buffer_append_string(svg, "</g>\n");
}

void sequence_write(struct sequence *sequence, const char *origin, struct buffer *svg)
{
    lay_out(sequence);
    double end = end_of(sequence);
    draw_head(sequence, origin, svg, end + BOTTOM);
    for (int column = 0; column < sequence->columns; column++) {
        draw_column(sequence, svg, column);
    }
    draw_times(sequence, svg);
    for (int layer = 0; layer < 3; layer++) { /* thin arrows, arrows, what stands on the lines */
        for (size_t i = 0; i < happening_count(sequence); i++) {
            const struct happening *at = happening_at(sequence, i);
            int own = at->kind == NOTE ? 2 : at->how == SEQUENCE_MESSAGE ? 1 : 0;
            if (at->kind == ARROW && own == layer) {
                draw_arrow(sequence, svg, at);
            } else if (at->kind == NOTE && own == layer) {
                draw_note(sequence, svg, at);
            }
        }
    }
    draw_legend(sequence, svg, end + BOTTOM / 2.0);
    buffer_append_string(svg, "</svg>\n");
}
