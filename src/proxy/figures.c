#include "proxy/proxy.h"

#include <inttypes.h>

static void metric(struct buffer *out, const char *name, const char *type, const char *help)
{
    buffer_append_format(out, "# HELP cohort_balance_%s %s\n# TYPE cohort_balance_%s %s\n", name, help, name, type);
}

static void render_counts(const struct proxy_counts *counts, struct buffer *out)
{
    const struct {
        const char *name;
        const char *type;
        const char *help;
        uint64_t value;
    } rows[] = {
        {"connections", "gauge", "Client connections that are open.", counts->open},
        {"connections_total", "counter", "Client connections accepted.", counts->accepted},
        {"refused_total", "counter", "Client connections closed at the limit of connections.", counts->refused},
        {"rate_rests_total", "counter", "Times that accepting rested because of the rate.", counts->rate_rests},
        {"bad_headers_total", "counter", "PROXY headers that were malformed or late.", counts->bad_headers},
        {"no_backend_total", "counter", "Client connections for which no backend could be had.", counts->no_backend},
        {"connect_errors_total", "counter", "Attempts to connect that failed.", counts->connect_errors},
        {"connect_timeouts_total", "counter", "Attempts to connect that took too long.", counts->connect_timeouts},
        {"local_errors_total", "counter", "Attempts for which this machine had no descriptor, port or memory.",
         counts->local_errors},
        {"retries_total", "counter", "Attempts after the first one of a client.", counts->retries},
        {"idle_timeouts_total", "counter", "Client connections closed because nothing moved.", counts->idle_timeouts},
        {"resets_total", "counter", "Client connections that ended with a reset.", counts->resets},
        {"bytes_in_total", "counter", "Bytes from clients.", counts->bytes_in},
        {"bytes_out_total", "counter", "Bytes to clients.", counts->bytes_out},
        {"bytes_spliced_total", "counter", "Of both, bytes that stayed inside the kernel.", counts->bytes_spliced},
        {"accept_errors_total", "counter", "Times that the system had no descriptors left.", counts->accept_errors},
    };
    for (size_t i = 0; i < sizeof(rows) / sizeof(rows[0]); i++) {
        metric(out, rows[i].name, rows[i].type, rows[i].help);
        buffer_append_format(out, "cohort_balance_%s %" PRIu64 "\n", rows[i].name, rows[i].value);
    }
}

/* A label's value: quotes and backslashes are escaped, control characters there are none. */
static void append_label(struct buffer *out, struct slice text)
{
    for (size_t i = 0; i < text.size; i++) {
        if (text.data[i] == '"' || text.data[i] == '\\') {
            buffer_append_byte(out, '\\');
        }
        buffer_append_byte(out, text.data[i]);
    }
}

static void render_backends(const struct proxy_figures *figures, struct buffer *out, const char *name, const char *type,
                            const char *help, uint64_t (*value)(const struct proxy_backend_figures *))
{
    metric(out, name, type, help);
    for (uint32_t i = 0; i < figures->backends; i++) {
        buffer_append_format(out, "cohort_balance_%s{backend=\"", name);
        append_label(out, figures->of[i].balancing.id);
        buffer_append_format(out, "\"} %" PRIu64 "\n", value(&figures->of[i]));
    }
}

static uint64_t up(const struct proxy_backend_figures *of) { return of->healthy_workers > 0; }
static uint64_t healthy(const struct proxy_backend_figures *of) { return of->balancing.healthy; }
static uint64_t ejected(const struct proxy_backend_figures *of) { return of->balancing.ejected; }
static uint64_t draining(const struct proxy_backend_figures *of) { return of->balancing.draining; }
static uint64_t weight(const struct proxy_backend_figures *of) { return of->balancing.weight; }
static uint64_t in_flight(const struct proxy_backend_figures *of) { return of->balancing.in_flight; }
static uint64_t picked(const struct proxy_backend_figures *of) { return of->balancing.picked; }
static uint64_t failed(const struct proxy_backend_figures *of) { return of->balancing.failed; }
static uint64_t ejections(const struct proxy_backend_figures *of) { return of->balancing.ejections; }
static uint64_t checks(const struct proxy_backend_figures *of) { return of->balancing.checks_failed; }

void proxy_figures_render(const struct proxy_figures *figures, struct buffer *out)
{
    render_counts(&figures->counts, out);
    render_backends(figures, out, "backend_up", "gauge", "Whether new connections go to it.", up);
    render_backends(figures, out, "backend_healthy", "gauge", "Whether its checks pass.", healthy);
    render_backends(figures, out, "backend_ejected", "gauge", "Whether its errors keep it out for now.", ejected);
    render_backends(figures, out, "backend_draining", "gauge", "Whether it gets nothing new.", draining);
    render_backends(figures, out, "backend_weight", "gauge", "Its weight.", weight);
    render_backends(figures, out, "backend_connections", "gauge", "Connections to it.", in_flight);
    render_backends(figures, out, "backend_picked_total", "counter", "Times that it was chosen.", picked);
    render_backends(figures, out, "backend_errors_total", "counter", "Attempts and connections that failed.", failed);
    render_backends(figures, out, "backend_ejections_total", "counter", "Times that errors kept it out.", ejections);
    render_backends(figures, out, "backend_failed_checks_total", "counter", "Checks that failed.", checks);
}
