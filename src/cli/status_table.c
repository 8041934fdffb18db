#include "cli/status_table.h"

#include "base/units.h"
#include "cli/table.h"

#include <inttypes.h>
#include <stdio.h>
#include <sys/ioctl.h>
#include <unistd.h>

enum { WIDTH_DEFAULT = 80, INCARNATION_SHOWN = 8, VERSION_SHOWN = 32 };

_Static_assert((int)TABLE_CELL_BYTES >= (int)CLIENT_ENDPOINT_TEXT_BYTES, "a cell holds an address");

static size_t width_wanted(void)
{
    struct winsize size;
    bool known = ioctl(STDOUT_FILENO, TIOCGWINSZ, &size) == 0 && size.ws_col > 0;
    return known ? size.ws_col : WIDTH_DEFAULT;
}

/* ---- cells ---- */

static void set_text(struct table_cell *cell, const json_t *answer, const char *name, size_t longest)
{
    const char *text = json_string_value(json_object_get(answer, name));
    table_set_text(cell, slice_from_string(text == NULL ? "" : text), longest);
}

static void set_size(struct table_cell *cell, int64_t bytes)
{
    char text[UNITS_TEXT_BYTES] = "-";
    if (bytes >= 0) {
        units_format_size(text, (uint64_t)bytes);
    }
    (void)snprintf(cell->text, sizeof(cell->text), "%s", text);
}

static void set_uptime(struct table_cell *cell, int64_t seconds)
{
    char text[UNITS_TEXT_BYTES] = "-";
    if (seconds >= 0) {
        units_format_duration(text, (uint64_t)seconds);
    }
    (void)snprintf(cell->text, sizeof(cell->text), "%s", text);
}

/* ---- nodes ---- */

static const char *const node_titles[] = {"NODE",   "ADDRESS", "STATE",       "VERSION", "UPTIME",
                                          "MEMORY", "LOG",     "INCARNATION", NULL};

static void set_state(struct table_cell *cell, const struct view_node *node)
{
    const char *state = strcmp(node->state, "active") == 0 ? "" : node->state;
    cell->colour = node->answer == NULL ? TABLE_BAD : state[0] == '\0' ? TABLE_GOOD : TABLE_WARN;
    (void)snprintf(cell->text, sizeof(cell->text), "%s%s%s", node->answer == NULL ? "down" : "up",
                   state[0] == '\0' ? "" : ", ", state);
}

static void node_row(const struct view_node *node, struct table_cell *cells)
{
    table_set_number(&cells[0], node->id);
    (void)snprintf(cells[1].text, sizeof(cells[1].text), "%s", node->address);
    set_state(&cells[2], node);
    if (node->answer != NULL) {
        set_text(&cells[3], node->answer, "version", VERSION_SHOWN);
        set_uptime(&cells[4], view_number(node->answer, "uptime_s"));
        set_size(&cells[5], view_number(node->answer, "memory_bytes"));
        set_size(&cells[6], view_number(node->answer, "log_bytes"));
        set_text(&cells[7], node->answer, "incarnation", INCARNATION_SHOWN);
    }
}

static void print_nodes(const struct view *view)
{
    struct table table = {.titles = node_titles};
    for (size_t i = 0; i < view->node_count; i++) {
        node_row(&view->nodes[i], table_add_row(&table));
    }
    table_print(&table);
    table_deinit(&table);
}

/* ---- shards ---- */

enum { SHARD_COLUMNS = 4 }; /* before those of the nodes */

static const char *const shard_titles[SHARD_COLUMNS] = {"SHARD", "TERM", "COMMIT", "KEYS"};

static void replica_cell(const struct view_replica *replica, struct table_cell *ret_cell)
{
    *ret_cell = (struct table_cell){.colour = TABLE_PLAIN};
    const char *text = view_role_name(replica->role);
    switch (replica->role) {
    case VIEW_NO_VOTER: text = "-"; break;
    case VIEW_LEADER: ret_cell->colour = TABLE_GOOD; break;
    case VIEW_FOLLOWER:
        if (replica->lag > 0) {
            ret_cell->colour = TABLE_WARN;
            (void)snprintf(ret_cell->text, sizeof(ret_cell->text), "%" PRId64 " behind", replica->lag);
            return;
        }
        break;
    case VIEW_OLD_LEADER:
    case VIEW_TO_COME: ret_cell->colour = TABLE_WARN; break;
    case VIEW_UNKNOWN:
        ret_cell->colour = TABLE_BAD;
        text = "?";
        break;
    }
    (void)snprintf(ret_cell->text, sizeof(ret_cell->text), "%s", text);
}

static void shard_row(const struct view_shard *shard, struct table_cell cells[static SHARD_COLUMNS])
{
    memset(cells, 0, SHARD_COLUMNS * sizeof(*cells));
    if (shard->number == 0) {
        (void)snprintf(cells[0].text, sizeof(cells[0].text), "meta");
    } else {
        table_set_number(&cells[0], shard->number);
    }
    table_set_number(&cells[1], shard->term);
    table_set_number(&cells[2], shard->commit);
    table_set_number(&cells[3], shard->number == 0 ? -1 : shard->keys);
    cells[0].colour = shard->led == NULL ? TABLE_BAD : TABLE_PLAIN;
}

/* Columns of a table of shards: the first ones and those of the nodes `from` and up. */
struct shard_widths {
    size_t of[SHARD_COLUMNS];
    size_t nodes[PLACEMENT_MAXIMUM_NODES];
};

static size_t node_title(const struct view_node *node, struct table_cell *ret_cell)
{
    *ret_cell = (struct table_cell){.colour = node->answer == NULL ? TABLE_BAD : TABLE_PLAIN};
    return (size_t)snprintf(ret_cell->text, sizeof(ret_cell->text), "NODE %" PRId64, node->id);
}

/* Calls for each shard, the meta group last. */
static void each_shard(const struct view *view, void (*each)(void *owner, const struct view_shard *shard), void *owner)
{
    for (uint32_t number = 1; number <= view->shard_count + (view->has_meta ? 1 : 0); number++) {
        struct view_shard shard;
        view_shard(view, number <= view->shard_count ? number : 0, &shard);
        each(owner, &shard);
    }
}

struct shard_table {
    const struct view *view;
    struct shard_widths widths;
    size_t from, to; /* nodes of the table being printed */
    bool colours;
};

static void measure_shard(void *owner, const struct view_shard *shard)
{
    struct shard_table *table = owner;
    struct table_cell cells[SHARD_COLUMNS];
    shard_row(shard, cells);
    for (size_t c = 0; c < SHARD_COLUMNS; c++) {
        size_t width = table_width(cells[c].text);
        table->widths.of[c] = width > table->widths.of[c] ? width : table->widths.of[c];
    }
    for (size_t i = 0; i < table->view->node_count; i++) {
        struct view_replica replica;
        struct table_cell cell;
        view_replica(table->view, shard, &table->view->nodes[i], &replica);
        replica_cell(&replica, &cell);
        size_t width = table_width(cell.text);
        table->widths.nodes[i] = width > table->widths.nodes[i] ? width : table->widths.nodes[i];
    }
}

static void print_shard(void *owner, const struct view_shard *shard)
{
    struct shard_table *table = owner;
    struct table_cell cells[SHARD_COLUMNS];
    shard_row(shard, cells);
    for (size_t c = 0; c < SHARD_COLUMNS; c++) {
        table_print_cell(&cells[c], table->widths.of[c], false, table->colours);
    }
    for (size_t i = table->from; i < table->to; i++) {
        struct view_replica replica;
        struct table_cell cell;
        view_replica(table->view, shard, &table->view->nodes[i], &replica);
        replica_cell(&replica, &cell);
        table_print_cell(&cell, table->widths.nodes[i], i + 1 == table->to, table->colours);
    }
    printf("\n");
}

/* As many nodes as fit beside the first columns, and at least one. */
static size_t nodes_that_fit(const struct shard_table *table, size_t width)
{
    size_t used = 0;
    for (size_t c = 0; c < SHARD_COLUMNS; c++) {
        used += table->widths.of[c] + TABLE_GAP;
    }
    size_t to = table->from;
    while (to < table->view->node_count) {
        used += table->widths.nodes[to];
        if (used > width && to > table->from) {
            break;
        }
        used += TABLE_GAP;
        to++;
    }
    return to;
}

static void print_shard_titles(const struct shard_table *table)
{
    printf("\n");
    for (size_t c = 0; c < SHARD_COLUMNS; c++) {
        printf("%-*s", (int)table->widths.of[c] + TABLE_GAP, shard_titles[c]);
    }
    for (size_t i = table->from; i < table->to; i++) {
        struct table_cell title;
        (void)node_title(&table->view->nodes[i], &title);
        table_print_cell(&title, table->widths.nodes[i], i + 1 == table->to, table->colours);
    }
    printf("\n");
}

void status_table_print(const struct view *view)
{
    struct shard_table table = {.view = view, .colours = table_has_colours()};
    print_nodes(view);
    if (view->shard_count == 0) {
        return;
    }
    for (size_t c = 0; c < SHARD_COLUMNS; c++) {
        table.widths.of[c] = strlen(shard_titles[c]);
    }
    for (size_t i = 0; i < view->node_count; i++) {
        struct table_cell title;
        table.widths.nodes[i] = node_title(&view->nodes[i], &title);
    }
    each_shard(view, measure_shard, &table);
    size_t width = width_wanted();
    while (table.to < view->node_count) {
        table.from = table.to;
        table.to = nodes_that_fit(&table, width);
        print_shard_titles(&table);
        each_shard(view, print_shard, &table);
    }
}
