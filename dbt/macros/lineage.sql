{# Logs the columns of a built model and of what it selects from, as JSON: Dagster reads that and works out the lineage of every column from the compiled SQL. #}
{% macro log_columns() %}
  {%- if execute -%}
    {%- set parents = {} -%}
    {%- for name in model.depends_on.nodes -%}
      {%- set node = graph.sources.get(name) or graph.nodes.get(name) -%}
      {%- do parents.update({node.relation_name: {"columns": columns_of(api.Relation.create(node.database, node.schema, node.identifier or node.alias))}}) -%}
    {%- endfor -%}
    {%- do log(tojson({"columns": columns_of(this), "parents": parents}), info=true) -%}
  {%- endif -%}
{% endmacro %}

{% macro columns_of(relation) %}
  {%- set found = {} -%}
  {%- for column in adapter.get_columns_in_relation(relation) -%}
    {%- do found.update({column.name: {"data_type": column.dtype}}) -%}
  {%- endfor -%}
  {{ return(found) }}
{% endmacro %}
