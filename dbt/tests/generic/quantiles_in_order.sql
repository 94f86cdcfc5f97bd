{% test quantiles_in_order(model) %}
{%- set names = [] -%}
{%- for level in var('intervals') | reverse %}{% do names.append('lo_' ~ level) %}{% endfor -%}
{%- for level in var('intervals') %}{% do names.append('hi_' ~ level) %}{% endfor -%}
select *
from {{ model }}
where false
{%- for i in range(names | length - 1) %}
    or {{ names[i] }} > {{ names[i + 1] }}
{%- endfor %}
{% endtest %}
