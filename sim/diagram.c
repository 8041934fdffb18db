#include "diagram.h"

#include "base/assert.h"

#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>

#define MS INT64_C(1000000)

enum {
    TEXT_BYTES = 64,
    COLUMN = 250,
    CLIENT_COLUMN = 70,
    LEFT = 150,
    TOP = 60,
    PIXELS_PER_SECOND = 1600,
    SPREAD = 9,    /* between the lines of the groups at one member */
    LINE_GAP = 12, /* between two texts */
    KINDS = 14,
    SIM_DIAGRAM_COLUMNS = 65,
};

struct message {
    int64_t sent_ns, arrived_ns; /* -1: never */
    int from, to;
    uint32_t group;
    int kind;
};

struct mark {
    int64_t at_ns;
    int member;
    uint32_t group;
    enum diagram_mark mark;
    char text[TEXT_BYTES];
};

struct diagram {
    int members, clients, groups;
    int64_t from_ns, to_ns;
    struct buffer messages, marks; /* of struct message, struct mark */
};

static const struct {
    const char *name, *color, *width;
} kinds[KINDS] = {
    {"message", "#888", "1"},          {"pre-vote", "#c77700", "1.4"},       {"pre-vote reply", "#e0b060", "1"},
    {"vote", "#c00", "1.8"},           {"vote reply", "#e77", "1.4"},        {"append", "#1565c0", "1.4"},
    {"append reply", "#7fb2e5", "1"},  {"heartbeat", "#ccc", "0.8"},         {"heartbeat reply", "#e2e2e2", "0.8"},
    {"snapshot", "#7b1fa2", "2"},      {"snapshot reply", "#c39bd3", "1.2"}, {"timeout now", "#000", "1.8"},
    {"between nodes", "#1565c0", "1"}, {"of a client", "#c9a227", "0.8"},
};

static const char *const mark_colors[] = {
    [DIAGRAM_START] = "#2e7d32", [DIAGRAM_CRASH] = "#c00",     [DIAGRAM_LEADS] = "#1b5e20",
    [DIAGRAM_FOLLOWS] = "#777",  [DIAGRAM_COMMIT] = "#1565c0", [DIAGRAM_SNAPSHOT] = "#7b1fa2",
    [DIAGRAM_FAULT] = "#c77700", [DIAGRAM_FAILURE] = "#fff",
};

struct diagram *diagram_create(int members, int clients, int groups, int64_t from_ns, int64_t to_ns)
{
    struct diagram *diagram = calloc(1, sizeof(*diagram));
    ASSERT(diagram != NULL);
    *diagram =
        (struct diagram){.members = members, .clients = clients, .groups = groups, .from_ns = from_ns, .to_ns = to_ns};
    return diagram;
}

void diagram_destroy(struct diagram *diagram)
{
    if (diagram != NULL) {
        buffer_deinit(&diagram->messages);
        buffer_deinit(&diagram->marks);
        free(diagram);
    }
}

size_t diagram_sent(struct diagram *diagram, int64_t at_ns, int from, int to, uint32_t group, int kind)
{
    if (diagram == NULL || at_ns < diagram->from_ns || at_ns >= diagram->to_ns) {
        return SIZE_MAX;
    }
    struct message message = {at_ns, -1, from, to, group, kind < 0 || kind >= KINDS ? 0 : kind};
    buffer_append(&diagram->messages, &message, sizeof(message));
    return diagram->messages.size / sizeof(message) - 1;
}

void diagram_arrived(struct diagram *diagram, size_t message, int64_t at_ns)
{
    if (diagram != NULL && message != SIZE_MAX) {
        memcpy(diagram->messages.data + message * sizeof(struct message) + offsetof(struct message, arrived_ns), &at_ns,
               sizeof(at_ns));
    }
}

void diagram_mark(struct diagram *diagram, int64_t at_ns, int member, uint32_t group, enum diagram_mark kind,
                  const char *text)
{
    if (diagram == NULL || at_ns >= diagram->to_ns) {
        return; /* earlier ones say who is up and leads where the picture begins */
    }
    struct mark mark = {.at_ns = at_ns, .member = member, .group = group, .mark = kind};
    (void)snprintf(mark.text, sizeof(mark.text), "%s", text);
    buffer_append(&diagram->marks, &mark, sizeof(mark));
}

/* ---- drawing ---- */

__attribute__((format(printf, 2, 3))) static void put(struct buffer *html, const char *format, ...)
{
    char text[640];
    va_list arguments;
    va_start(arguments, format);
    int size = vsnprintf(text, sizeof(text), format, arguments);
    va_end(arguments);
    ASSERT(size >= 0 && (size_t)size < sizeof(text));
    buffer_append(html, text, (size_t)size);
}

static double y_of(const struct diagram *diagram, int64_t at_ns)
{
    return TOP + (double)(at_ns - diagram->from_ns) * PIXELS_PER_SECOND / 1e9;
}

static double x_of(const struct diagram *diagram, int member, uint32_t group)
{
    if (member >= diagram->members) {
        return LEFT + (double)diagram->members * COLUMN + (double)(member - diagram->members) * CLIENT_COLUMN;
    }
    double shift = group == 0 ? 0 : ((double)group - (diagram->groups + 1) / 2.0) * SPREAD;
    return LEFT + (double)member * COLUMN + shift;
}

static int width_of(const struct diagram *diagram)
{
    return LEFT + diagram->members * COLUMN + diagram->clients * CLIENT_COLUMN;
}

static struct mark mark_at(const struct diagram *diagram, size_t i)
{
    struct mark mark;
    memcpy(&mark, diagram->marks.data + i * sizeof(mark), sizeof(mark));
    return mark;
}

static void draw_span(const struct diagram *diagram, struct buffer *html, int member, uint32_t group, int64_t from_ns,
                      int64_t to_ns, const char *style)
{
    from_ns = from_ns < diagram->from_ns ? diagram->from_ns : from_ns;
    if (from_ns < to_ns) {
        double x = x_of(diagram, member, group);
        put(html, "<line x1='%.1f' x2='%.1f' y1='%.1f' y2='%.1f' %s/>\n", x, x, y_of(diagram, from_ns),
            y_of(diagram, to_ns), style);
    }
}

/* A member's line of one group: thin while it is up, thick while it leads. */
static void draw_life(const struct diagram *diagram, struct buffer *html, int member, uint32_t group, int64_t end_ns)
{
    int64_t up_ns = -1;
    int64_t leads_ns = -1;
    const char *up = "stroke='#555' stroke-width='1.5'";
    const char *leads = "stroke='#2e7d32' stroke-width='6' stroke-opacity='.75'";
    for (size_t i = 0; i < diagram->marks.size / sizeof(struct mark); i++) {
        struct mark mark = mark_at(diagram, i);
        if (mark.member != member || (mark.group != group && mark.group != 0)) {
            continue;
        }
        bool ends = mark.mark == DIAGRAM_CRASH || mark.mark == DIAGRAM_FOLLOWS;
        if (mark.mark == DIAGRAM_START) {
            up_ns = mark.at_ns;
        } else if (mark.mark == DIAGRAM_LEADS) {
            leads_ns = mark.at_ns;
        }
        if (ends && leads_ns >= 0) {
            draw_span(diagram, html, member, group, leads_ns, mark.at_ns, leads);
            leads_ns = -1;
        }
        if (mark.mark == DIAGRAM_CRASH && up_ns >= 0) {
            draw_span(diagram, html, member, group, up_ns, mark.at_ns, up);
            up_ns = -1;
        }
    }
    if (up_ns >= 0) {
        draw_span(diagram, html, member, group, up_ns, end_ns, up);
    }
    if (leads_ns >= 0) {
        draw_span(diagram, html, member, group, leads_ns, end_ns, leads);
    }
}

static void draw_message(const struct diagram *diagram, struct buffer *html, const struct message *message)
{
    double x1 = x_of(diagram, message->from, message->group);
    double x2 = x_of(diagram, message->to, message->group);
    double y1 = y_of(diagram, message->sent_ns);
    bool lost = message->arrived_ns < 0;
    double y2 = lost ? y1 + 6 : y_of(diagram, message->arrived_ns);
    if (lost) {
        x2 = x1 + (x2 - x1) * .3;
    }
    put(html,
        "<line class='k%d' x1='%.1f' y1='%.1f' x2='%.1f' y2='%.1f' stroke='%s' stroke-width='%s'%s>"
        "<title>%s, group %u, %d to %d, %.2f ms%s</title></line>\n",
        message->kind, x1, y1, x2, y2, kinds[message->kind].color, kinds[message->kind].width,
        lost ? " stroke-dasharray='3 3' marker-end='url(#lost)'" : " marker-end='url(#arrow)'",
        kinds[message->kind].name, message->group, message->from + 1, message->to + 1, (double)message->sent_ns / 1e6,
        lost ? ", lost" : "");
}

static void escape(const char *text, char *escaped, size_t capacity)
{
    size_t at = 0;
    for (; *text != '\0' && at + 6 < capacity; text++) {
        const char *as = *text == '<' ? "&lt;" : *text == '&' ? "&amp;" : NULL;
        at += (size_t)snprintf(escaped + at, capacity - at, as != NULL ? "%s" : "%.1s", as != NULL ? as : text);
    }
    escaped[at] = '\0';
}

/* Texts stand right of their line, below the one before when they would touch; commits are dots. */
static void draw_marks(const struct diagram *diagram, struct buffer *html)
{
    double free_from[SIM_DIAGRAM_COLUMNS] = {0};
    for (size_t i = 0; i < diagram->marks.size / sizeof(struct mark); i++) {
        struct mark mark = mark_at(diagram, i);
        if (mark.at_ns < diagram->from_ns) {
            continue;
        }
        double y = y_of(diagram, mark.at_ns);
        const char *color = mark_colors[mark.mark];
        char text[TEXT_BYTES * 5];
        escape(mark.text, text, sizeof(text));
        if (mark.mark == DIAGRAM_COMMIT) {
            put(html, "<circle cx='%.1f' cy='%.1f' r='2.5' fill='%s'><title>%s</title></circle>\n",
                x_of(diagram, mark.member, mark.group), y, color, text);
            continue;
        }
        double *free_y = &free_from[mark.member + 1];
        double text_y = y < *free_y ? *free_y : y;
        *free_y = text_y + LINE_GAP;
        if (mark.member < 0) {
            put(html,
                "<line x1='0' x2='%d' y1='%.1f' y2='%.1f' stroke='%s' stroke-width='.6' stroke-dasharray='6 4'/>"
                "<text x='4' y='%.1f' class='t' fill='%s'>%s</text>\n",
                width_of(diagram), y, y, mark.mark == DIAGRAM_FAILURE ? "#c00" : color, text_y + 10,
                mark.mark == DIAGRAM_FAILURE ? "#c00" : color, text);
            continue;
        }
        double x = x_of(diagram, mark.member, mark.group);
        put(html,
            "<circle cx='%.1f' cy='%.1f' r='4.5' fill='%s' stroke='#fff'/><text x='%.1f' y='%.1f' class='t' "
            "fill='%s'>%s</text>\n",
            x, y, color, x_of(diagram, mark.member, 0) + diagram->groups * SPREAD / 2.0 + 8, text_y + 4, color, text);
    }
}

static void draw_head(const struct diagram *diagram, const char *title, struct buffer *html, double height)
{
    put(html, "<!doctype html><meta charset='utf-8'><title>cohort sim</title>\n<style>"
              "body{font:14px system-ui,sans-serif;margin:12px;color:#222}.t{font:11px system-ui,sans-serif;"
              "paint-order:stroke;stroke:#fff;stroke-width:3px}.g{font:10px monospace;fill:#999}"
              ".l{margin-right:14px;white-space:nowrap}b{font-weight:600}</style>\n");
    char text[512];
    escape(title, text, sizeof(text));
    put(html, "<p><b>%s</b><p>", text);
    for (int i = 1; i < KINDS; i++) {
        put(html,
            "<span class='l'><svg width='22' height='8'><line x1='0' x2='22' y1='4' y2='4' stroke='%s' "
            "stroke-width='%s'/></svg> %s</span>\n",
            kinds[i].color, kinds[i].width, kinds[i].name);
    }
    put(html, "<p>Time goes down. A line is a group's member; thick and green while it leads. Blue dots: entries "
              "committed there. Dashed arrows never arrive.\n");
    int width = width_of(diagram);
    put(html,
        "<svg xmlns='http://www.w3.org/2000/svg' width='%d' height='%.0f' viewBox='0 0 %d %.0f'>"
        "<rect width='100%%' height='100%%' fill='#fff'/><defs>\n",
        width, height, width, height);
    put(html, "<marker id='arrow' viewBox='0 0 8 8' refX='8' refY='4' markerWidth='7' markerHeight='7' "
              "markerUnits='userSpaceOnUse' orient='auto'><path d='M0 0L8 4L0 8z' fill='context-stroke'/></marker>"
              "<marker id='lost' viewBox='0 0 8 8' refX='4' refY='4' markerWidth='7' markerHeight='7' "
              "markerUnits='userSpaceOnUse' orient='auto'><path d='M0 0L8 8M0 8L8 0' stroke='#c00' "
              "stroke-width='1.5'/></marker></defs>\n");
}

void diagram_write(const struct diagram *diagram, const char *title, struct buffer *html)
{
    int64_t end_ns = diagram->from_ns;
    for (size_t i = 0; i < diagram->marks.size / sizeof(struct mark); i++) {
        int64_t at_ns = mark_at(diagram, i).at_ns;
        end_ns = at_ns > end_ns ? at_ns : end_ns;
    }
    struct message message;
    for (size_t at = 0; at < diagram->messages.size; at += sizeof(message)) {
        memcpy(&message, diagram->messages.data + at, sizeof(message));
        end_ns = message.sent_ns > end_ns ? message.sent_ns : end_ns;
        end_ns = message.arrived_ns > end_ns ? message.arrived_ns : end_ns;
    }
    end_ns = end_ns > diagram->to_ns ? diagram->to_ns : end_ns;
    draw_head(diagram, title, html, y_of(diagram, end_ns) + TOP);
    for (int64_t at_ns = (diagram->from_ns / (50 * MS)) * 50 * MS; at_ns <= end_ns; at_ns += 50 * MS) {
        if (at_ns >= diagram->from_ns) {
            put(html,
                "<text class='g' x='4' y='%.1f'>%.2f s</text><line x1='60' x2='%d' y1='%.1f' y2='%.1f' "
                "stroke='#f2f2f2'/>\n",
                y_of(diagram, at_ns) - 3, (double)at_ns / 1e9, width_of(diagram), y_of(diagram, at_ns),
                y_of(diagram, at_ns));
        }
    }
    for (int member = 0; member < diagram->members; member++) {
        put(html, "<text x='%d' y='24' text-anchor='middle' font-weight='600'>member %d</text>\n",
            LEFT + member * COLUMN, member + 1);
        for (uint32_t group = 1; group <= (uint32_t)diagram->groups; group++) {
            if (diagram->groups > 1) {
                put(html, "<text class='g' x='%.1f' y='44' text-anchor='middle'>%u</text>\n",
                    x_of(diagram, member, group), group);
            }
            draw_life(diagram, html, member, group, end_ns);
        }
    }
    for (int client = 0; client < diagram->clients; client++) {
        put(html, "<text class='g' x='%.1f' y='24' text-anchor='middle'>client %d</text>\n",
            x_of(diagram, diagram->members + client, 0), client + 1);
    }
    for (size_t at = 0; at < diagram->messages.size; at += sizeof(message)) {
        memcpy(&message, diagram->messages.data + at, sizeof(message));
        draw_message(diagram, html, &message);
    }
    draw_marks(diagram, html);
    put(html, "</svg>\n");
}
