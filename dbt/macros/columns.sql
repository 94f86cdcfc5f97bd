{# The key columns of a series, quoted and prefixed. Without them the marts would say nothing of what a series is, so that is an error. #}
{% macro key_columns(relation) %}
  {%- if execute and not var('series_keys') -%}
    {{ exceptions.raise_compiler_error("var series_keys is empty: pass the key columns of forecast.yaml, --vars '{series_keys: [...]}'") }}
  {%- endif -%}
  {%- for name in var('series_keys') -%}
    {{ relation }}.{{ adapter.quote(name) }},
  {% endfor -%}
{% endmacro %}

{# The columns that sums are by, quoted and prefixed; a sum that is not by one of them has none there. #}
{% macro sum_columns(relation) %}
  {%- for name in var('sum_keys') -%}
    {{ relation }}.{{ adapter.quote(name) }},
  {% endfor -%}
{% endmacro %}

{# Interval bounds from the lowest to the highest: lo_95, lo_80, hi_80, hi_95. #}
{% macro interval_columns(relation) %}
  {%- for level in var('intervals') | reverse -%} {{ relation }}.lo_{{ level }}, {% endfor -%}
  {%- for level in var('intervals') -%} {{ relation }}.hi_{{ level }}{{ ", " if not loop.last }}{% endfor -%}
{% endmacro %}

{# Empirical coverage of the intervals. #}
{% macro coverage_columns(relation) %}
  {%- for level in var('intervals') -%} {{ relation }}.coverage_{{ level }}{{ ", " if not loop.last }}{% endfor -%}
{% endmacro %}
